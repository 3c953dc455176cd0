"""The holder, from its clone(2) to its end. It has one table of descriptors with its parent, so nothing is to
be done for a new one.

Nothing but libc is called in the child: it has a copy of a Python process's memory, and must not touch it.
"""

from libc.stdint cimport uint64_t, uintptr_t
from neat.replica.process cimport TICKS_BITS, LedgerHeader
from neat.shm.atomic cimport load64

cdef extern from * nogil:
    """
    #include <errno.h>
    #include <poll.h>
    #include <sched.h>
    #include <signal.h>
    #include <sys/prctl.h>
    #include <sys/syscall.h>
    #include <unistd.h>

    #ifndef SYS_pidfd_getfd
    #define SYS_pidfd_getfd 438
    #endif

    /* As fork(), but with one table of descriptors for both. */
    static inline int neat_clone_with_files(void) {
        long pid = syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
        return pid < 0 ? -errno : (int)pid;
    }

    static inline int neat_getfd(int pidfd, int fd) {
        long got = syscall(SYS_pidfd_getfd, pidfd, fd, 0);
        return got < 0 ? -errno : (int)got;
    }

    /* A Python process ignores some signals and handles others: the child has none of that. */
    static inline void neat_plain_signals(void) {
        sigset_t none;
        for (int number = 1; number < NSIG; number++)
            signal(number, SIG_DFL);
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
    }

    /* Whether the pipe's other end is gone; waits for that at most `ms` (-1: for ever). */
    static inline int neat_is_over(int fd, int ms) {
        struct pollfd at = {.fd = fd};
        return poll(&at, 1, ms) > 0;
    }
    """
    int clone_with_files "neat_clone_with_files"() noexcept
    int getfd "neat_getfd"(int pidfd, int fd) noexcept
    void plain_signals "neat_plain_signals"() noexcept
    bint is_over "neat_is_over"(int fd, int ms) noexcept
    int* errno_at "__errno_location"() noexcept
    int set_name "prctl"(int option, const char* name, long a, long b, long c) noexcept
    const int PR_SET_NAME
    int getpid() noexcept
    int getppid() noexcept
    void leave "_exit"(int status) noexcept

cdef enum:
    LARGE = 1 << 17                 # bytes of a mapping
    LOOK_MS = 20                    # while it is not known whether this one is the holder


cdef extern from "<sys/mman.h>" nogil:
    int madvise(void* memory, size_t length, int advice)
    const int MADV_DONTFORK


def set_memory_apart():
    """What a holder has no use for is left out of its copy of this process's memory: else the clone(2) costs
    a page table of all that Python has, and each page of it is copied when it is written to next. What is
    left is small, or the thread's own (errno lies there). From here on a fork() has no Python in it; one that
    goes on to exec has no need of it (subprocess: vfork)."""
    cdef uintptr_t start, end
    cdef uintptr_t own = <uintptr_t>errno_at()
    with open("/proc/self/maps") as maps:
        for line in maps:
            place, rights, _offset, _device, _inode, *name = line.split()
            if rights != "rw-p" or (name and name != ["[heap]"]):
                continue
            start, end = (int(number, 16) for number in place.split("-"))
            if end - start >= LARGE and not start <= own < end:
                madvise(<void*>start, end - start, MADV_DONTFORK)


cdef int holder_clone(LedgerHeader* ledger, int lifeline) noexcept nogil:
    parent = getpid()
    pid = clone_with_files()
    if pid == 0:
        hold(ledger, lifeline, parent)
    return pid


cdef void hold(LedgerHeader* ledger, int lifeline, int parent) noexcept nogil:
    """In the child; does not return."""
    cdef bint orphan
    cdef bint named = False
    set_name(PR_SET_NAME, b"neat-holder", 0, 0, 0)
    plain_signals()
    while not is_over(lifeline, -1 if named else LOOK_MS):
        orphan = getppid() != parent  # first: a parent that is dead names nobody any more
        named = load64(&ledger.holder) >> TICKS_BITS == <uint64_t>getpid()
        if orphan and not named:
            break
    leave(0)


cdef int holder_give(int pidfd, int fd) noexcept nogil:
    return getfd(pidfd, fd)
