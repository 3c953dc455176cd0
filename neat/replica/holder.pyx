"""The holder, from its clone(2) to its end. It has one table of descriptors with its parent, so nothing is to
be done for a new one.

Nothing but libc is called in the child: it has a copy of a Python process's memory, and must not touch it.
"""

from libc.stdint cimport uint64_t
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
    int set_name "prctl"(int option, const char* name, long a, long b, long c) noexcept
    const int PR_SET_NAME
    int getpid() noexcept
    int getppid() noexcept
    void leave "_exit"(int status) noexcept

cdef enum:
    LOOK_MS = 20                    # while it is not known whether this one is the holder


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
