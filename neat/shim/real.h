/* Libc's own calls. This library may be preloaded and then stands before libc under the same names, so
 * everything in it that means libc says so: `libc(close)(fd)`. */
#ifndef NEAT_REAL_H
#define NEAT_REAL_H

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

/* Each is declared by a header above, so that its type is known. */
#define NEAT_REAL_CALLS(X) \
    X(socket) X(socketpair) X(bind) X(listen) X(accept) X(accept4) X(connect) X(getsockname) X(getpeername) \
    X(getsockopt) X(setsockopt) X(shutdown) X(close) X(close_range) X(closefrom) X(read) X(write) X(readv) \
    X(writev) X(pread) X(pread64) X(pwrite) X(pwrite64) X(preadv) X(preadv2) X(pwritev) X(pwritev2) X(send) \
    X(recv) X(sendto) X(recvfrom) X(sendmsg) X(recvmsg) X(sendmmsg) X(recvmmsg) X(sendfile) X(sendfile64) \
    X(splice) X(tee) X(vmsplice) X(copy_file_range) X(dup) X(dup2) X(dup3) X(fcntl) X(fcntl64) X(ioctl) \
    X(poll) X(ppoll) X(select) X(pselect) X(epoll_create) X(epoll_create1) X(epoll_ctl) X(epoll_wait) \
    X(epoll_pwait) X(epoll_pwait2) X(fork) X(vfork) X(clone) X(execve) X(execv) X(execvp) X(execvpe) \
    X(fexecve) X(posix_spawn) X(posix_spawnp) X(system) X(popen) X(fdopen) X(dprintf) X(vdprintf) X(lseek) \
    X(lseek64) X(isatty) X(fstat) X(sigaction) X(daemon) X(setuid) X(seteuid) X(setreuid) X(setresuid) \
    X(chroot) X(setrlimit) X(setrlimit64) X(prlimit) X(prlimit64) X(mlockall) X(syscall) X(open) X(open64) \
    X(openat) X(openat64) X(creat) X(creat64) X(pipe) X(pipe2) X(eventfd) X(signalfd) X(timerfd_create) \
    X(memfd_create) X(inotify_init) X(inotify_init1) X(mkstemp) X(mkstemp64) X(mkostemp) X(mkostemp64) \
    X(shm_open) X(posix_openpt)

struct neat_real {
#define X(name) __typeof__(&name) name;
    NEAT_REAL_CALLS(X)
#undef X
};

extern struct neat_real neat_real;
extern bool neat_real_known;
void neat_real_find(void);         /* looks all of them up; one that this libc does not have answers ENOSYS */

static inline const struct neat_real *neat_real_calls(void) {
    if (!__builtin_expect(__atomic_load_n(&neat_real_known, __ATOMIC_ACQUIRE), 1))
        neat_real_find();
    return &neat_real;
}

#define libc(name) (neat_real_calls()->name)

#endif
