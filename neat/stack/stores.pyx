"""Every store of an engine to its segments, one by one, for tests: what memory was like after each of them.

The segments are write-protected while it watches. A store faults; the handler lets this one instruction
through (page writable, trap flag set), and the trap behind it keeps what the memory around it has become and
protects the page again. A string instruction traps after each of its steps. x86-64 only: SUPPORTED says so.
Nothing here is used by a running stack."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport malloc
from libc.string cimport memcpy

cdef extern from * nogil:
    """
    #include <signal.h>
    #include <sys/mman.h>
    #if defined(__x86_64__)
    #include <ucontext.h>
    #define NEAT_STEPS 1
    static void neat_step(void *context, int on) {
        greg_t *flags = &((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL];
        *flags = on ? *flags | 0x100 : *flags & ~(greg_t)0x100;
    }
    #else
    #define NEAT_STEPS 0
    static void neat_step(void *context, int on) { (void)context; (void)on; }
    #endif
    static int neat_catch(int number, void (*handler)(int, siginfo_t *, void *), struct sigaction *before) {
        struct sigaction action = {0};
        action.sa_sigaction = handler;
        action.sa_flags = SA_SIGINFO | SA_NODEFER;
        return sigaction(number, &action, before);
    }
    """
    const int NEAT_STEPS
    const int PROT_READ
    const int PROT_WRITE
    const int SIGSEGV
    const int SIGTRAP
    ctypedef struct siginfo_t:
        void* si_addr
    cdef struct sigaction_t "sigaction":
        pass
    ctypedef void (*handler_t)(int, siginfo_t*, void*) noexcept nogil
    void neat_step(void* context, int on)
    int neat_catch(int number, handler_t handler, sigaction_t* before)
    int restore "sigaction"(int number, sigaction_t* action, void* before)
    int mprotect(void* start, uint64_t length, int protection)

SUPPORTED = bool(NEAT_STEPS)

cdef enum:
    PAGE = 4096
    BEFORE = 64                     # bytes kept before the address that faulted
    KEPT = 192
    MOST = 1 << 16                  # stores in one watch
    REGIONS = 2

cdef struct Store:
    uint32_t region
    uint32_t length
    uint64_t offset
    uint8_t bytes[KEPT]

cdef struct Watch:
    uint8_t* start[REGIONS]
    uint64_t size[REGIONS]
    uint32_t regions
    bint on
    uint8_t* page                   # that is writable for one instruction
    uint64_t span
    uint32_t region
    uint64_t offset
    Store* stores
    uint32_t n

cdef Watch watch
cdef sigaction_t old_segv, old_trap


cdef void faulted(int number, siginfo_t* info, void* context) noexcept nogil:
    cdef uint32_t i
    cdef uint8_t* at = <uint8_t*>info.si_addr
    for i in range(watch.regions):
        if watch.on and watch.start[i] <= at < watch.start[i] + watch.size[i]:
            watch.region = i
            watch.offset = at - watch.start[i]
            watch.page = watch.start[i] + (watch.offset & ~<uint64_t>(PAGE - 1))
            watch.span = min(<uint64_t>2 * PAGE, watch.size[i] - <uint64_t>(watch.page - watch.start[i]))
            if watch.page > watch.start[i]:
                watch.page -= PAGE
                watch.span += PAGE
            mprotect(watch.page, watch.span, PROT_READ | PROT_WRITE)
            neat_step(context, 1)
            return
    restore(SIGSEGV, &old_segv, NULL)  # not ours: it faults again


cdef void stepped(int number, siginfo_t* info, void* context) noexcept nogil:
    cdef Store* store
    neat_step(context, 0)
    if watch.n < MOST:
        store = &watch.stores[watch.n]
        watch.n += 1
        store.region = watch.region
        store.offset = watch.offset - BEFORE if watch.offset > BEFORE else 0
        store.length = <uint32_t>min(<uint64_t>KEPT, watch.size[watch.region] - store.offset)
        memcpy(store.bytes, watch.start[watch.region] + store.offset, store.length)
    mprotect(watch.page, watch.span, PROT_READ)


cdef class Stores:
    """The stores to these segments (writable buffers of whole pages) between `watch` and `rest`; only one at
    a time."""

    cdef uint8_t[:] first, second

    def __cinit__(self, first, second):
        if not SUPPORTED:
            raise OSError("single steps are for x86-64")
        if watch.stores is NULL:
            watch.stores = <Store*>malloc(MOST * sizeof(Store))
            if watch.stores is NULL:
                raise MemoryError
        self.first, self.second = first, second

    def watch(self):
        """From here on each store of this thread is kept. Nothing but the engine may write."""
        watch.start[0], watch.size[0] = &self.first[0], len(self.first)
        watch.start[1], watch.size[1] = &self.second[0], len(self.second)
        watch.regions = REGIONS
        watch.n = 0
        for k in range(REGIONS):
            if <uintptr_t>watch.start[k] % PAGE or watch.size[k] % PAGE:
                raise ValueError("not whole pages")
        neat_catch(SIGSEGV, faulted, &old_segv)
        neat_catch(SIGTRAP, stepped, &old_trap)
        watch.on = True
        for k in range(REGIONS):
            mprotect(watch.start[k], watch.size[k], PROT_READ)

    def rest(self):
        """No more. Returns the stores: (0 or 1: the segment, offset, what stands there after it)."""
        for k in range(REGIONS):
            mprotect(watch.start[k], watch.size[k], PROT_READ | PROT_WRITE)
        watch.on = False
        restore(SIGSEGV, &old_segv, NULL)
        restore(SIGTRAP, &old_trap, NULL)
        if watch.n == MOST:
            raise OverflowError("more stores than are kept")
        out = []
        for i in range(watch.n):
            store = &watch.stores[i]
            out.append((store.region, store.offset, (<char*>store.bytes)[: store.length]))
        return out
