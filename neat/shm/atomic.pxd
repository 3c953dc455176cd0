"""Atomic access to words in shared memory: GCC's __atomic builtins under the names that C11 gives them.

Use these, and nothing else, on a word that another process writes.
"""

from libc.stdint cimport uint32_t, uint64_t

cdef extern from * nogil:
    """
    #include <stdint.h>
    #define neat_load_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
    #define neat_load_relaxed(p) __atomic_load_n((p), __ATOMIC_RELAXED)
    #define neat_store_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
    #define neat_store_relaxed(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
    #define neat_exchange(p, v) __atomic_exchange_n((p), (v), __ATOMIC_SEQ_CST)
    #define neat_fetch_or(p, v) __atomic_fetch_or((p), (v), __ATOMIC_SEQ_CST)
    #define neat_fetch_and(p, v) __atomic_fetch_and((p), (v), __ATOMIC_SEQ_CST)
    static inline int neat_replace(uint64_t *p, uint64_t before, uint64_t after) {
        return __atomic_compare_exchange_n(p, &before, after, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
    static inline int neat_replace32(uint32_t *p, uint32_t before, uint32_t after) {
        return __atomic_compare_exchange_n(p, &before, after, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
    #define neat_fence() __atomic_thread_fence(__ATOMIC_SEQ_CST)
    """
    uint64_t load64 "neat_load_acquire"(uint64_t* p) noexcept
    uint32_t load32 "neat_load_acquire"(uint32_t* p) noexcept
    uint64_t peek64 "neat_load_relaxed"(uint64_t* p) noexcept
    uint32_t peek32 "neat_load_relaxed"(uint32_t* p) noexcept
    void store64 "neat_store_release"(uint64_t* p, uint64_t v) noexcept
    void store32 "neat_store_release"(uint32_t* p, uint32_t v) noexcept
    void poke64 "neat_store_relaxed"(uint64_t* p, uint64_t v) noexcept
    uint64_t exchange64 "neat_exchange"(uint64_t* p, uint64_t v) noexcept
    uint32_t exchange32 "neat_exchange"(uint32_t* p, uint32_t v) noexcept
    uint64_t fetch_or64 "neat_fetch_or"(uint64_t* p, uint64_t v) noexcept
    uint32_t fetch_or32 "neat_fetch_or"(uint32_t* p, uint32_t v) noexcept
    uint32_t fetch_and32 "neat_fetch_and"(uint32_t* p, uint32_t v) noexcept
    uint64_t fetch_and64 "neat_fetch_and"(uint64_t* p, uint64_t v) noexcept
    bint replace32 "neat_replace32"(uint32_t* p, uint32_t before, uint32_t after) noexcept
    bint replace64 "neat_replace"(uint64_t* p, uint64_t before, uint64_t after) noexcept
    void fence "neat_fence"() noexcept
