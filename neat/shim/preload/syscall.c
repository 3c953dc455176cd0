/* syscall(2): a call by its number does what it does by its name (libuv closes so). What has nothing to do
 * with descriptors of ours passes untouched.
 *
 * The kernel's ABI is libc's but where it is said below. A call by number is no place where
 * pthread_cancel(3) ends a thread, which is why programs make it.
 */
#include <sched.h>
#include <sys/syscall.h>

#include "../order.h"
#include "../setup.h"
#include "preload.h"

#define SIGSET_BYTES 8             /* of a mask, to the kernel */

/* Seven arguments, as libc's own takes them, whatever is there. */
NEAT_API long call_by_number(long number, long a, long b, long c, long d, long e, long f) __asm__("syscall");

struct call {
    long number, a, b, c, d, e, f;
};

struct answer {
    bool given;                    /* else the call is not our business */
    long value;
};

static bool io_uring_allowed = true;

/* io_uring reaches the kernel's files only, and what it closes or waits for passes by us. Programs can do
 * without: a kernel may not have it. */
AT_START(ORDER_CALLS) void set_up_calls(void) {
    const char *set = getenv("NEAT_IO_URING");
    io_uring_allowed = !getenv("NEAT_APP") || (set && *set && strcmp(set, "0"));
}

static long pass_call(const struct call *call) {
    return libc(syscall)(call->number, call->a, call->b, call->c, call->d, call->e, call->f);
}

static int64_t nanoseconds(const struct timespec *limit) {
    int64_t most = INT64_MAX / 2000000000;
    return limit->tv_sec < most ? limit->tv_sec * INT64_C(1000000000) + limit->tv_nsec : INT64_MAX / 2;
}

/* The kernel says how much of the time is left, where libc does not. `began`: when all of it was. Returns
 * `value`. */
static long with_time_left(long value, struct timespec *limit, int64_t began) {
    int kept = errno;
    if (limit && (value >= 0 || kept == EINTR)) {
        int64_t left = nanoseconds(limit) - (neat_now() - began);
        *limit = (struct timespec){left > 0 ? left / 1000000000 : 0, left > 0 ? left % 1000000000 : 0};
    }
    errno = kept;
    return value;
}

static bool sound_limit(long limit) {
    return !limit || !bad_pointer((void *)limit);
}

static bool sound_mask(long mask, long bytes) {
    return !mask || bytes == SIGSET_BYTES;
}

/* ppoll(fds, count, limit, mask, bytes of the mask) */
static long wait_by_poll(const struct call *call) {
    struct timespec *limit = (struct timespec *)call->c;
    if (!sound_limit(call->c) || !sound_mask(call->d, call->e))
        return pass_call(call);
    int64_t began = neat_now();
    long value = ppoll((struct pollfd *)call->a, (nfds_t)call->b, limit, (const sigset_t *)call->d);
    return with_time_left(value, limit, began);
}

/* pselect6(count, in, out, except, limit, {mask, its bytes}) */
static long wait_by_select(const struct call *call) {
    struct timespec *limit = (struct timespec *)call->e;
    const struct {
        const sigset_t *mask;
        size_t bytes;
    } *masked = (void *)call->f;
    bool sound = !masked || (!bad_pointer(masked) && sound_mask((long)masked->mask, (long)masked->bytes));
    if (!sound_limit(call->e) || !sound)
        return pass_call(call);
    int64_t began = neat_now();
    fd_set *in = (fd_set *)call->b, *out = (fd_set *)call->c, *except = (fd_set *)call->d;
    long value = pselect((int)call->a, in, out, except, limit, masked ? masked->mask : NULL);
    return with_time_left(value, limit, began);
}

/* A copy of this process without pthread_atfork() handlers: it may only exec, but what both have is no longer
 * ours alone. */
static long copy_process(const struct call *call) {
    neat_flags_shared();
    long child = pass_call(call);
    if (child == 0)
        neat_lock_forget();
    return child;
}

static bool copies_memory(const struct call *call) {
    if (call->number == SYS_clone)
        return !(call->a & CLONE_VM) && !call->b;
#ifdef SYS_clone3
    /* struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack */
    const uint64_t *arguments = (const uint64_t *)call->a;
    bool whole = (size_t)call->b >= 6 * sizeof *arguments;
    if (call->number != SYS_clone3 || !whole || bad_pointer(arguments))
        return false;
    return !(arguments[0] & CLONE_VM) && !arguments[5];
#else
    return false;
#endif
}

#define SAME(name, ...) \
    case SYS_##name: \
        *value = name(__VA_ARGS__); \
        return true
#define GIVES(name) case SYS_##name

/* Calls on a descriptor that move bytes. */
static bool moves_bytes(const struct call *c, long *value) {
    int fd = (int)c->a;
    switch (c->number) {
        SAME(read, fd, (void *)c->b, (size_t)c->c);
        SAME(write, fd, (const void *)c->b, (size_t)c->c);
        SAME(readv, fd, (const struct iovec *)c->b, (int)c->c);
        SAME(writev, fd, (const struct iovec *)c->b, (int)c->c);
        /* The offset comes in two halves, and all of it is in the first. */
        SAME(preadv2, fd, (const struct iovec *)c->b, (int)c->c, c->d, (int)c->f);
        SAME(pwritev2, fd, (const struct iovec *)c->b, (int)c->c, c->d, (int)c->f);
        SAME(recvfrom, fd, (void *)c->b, (size_t)c->c, (int)c->d, (struct sockaddr *)c->e, (socklen_t *)c->f);
        SAME(sendto, fd, (void *)c->b, (size_t)c->c, (int)c->d, (struct sockaddr *)c->e, (socklen_t)c->f);
        SAME(recvmsg, fd, (struct msghdr *)c->b, (int)c->c);
        SAME(sendmsg, fd, (const struct msghdr *)c->b, (int)c->c);
        SAME(recvmmsg, fd, (struct mmsghdr *)c->b, (unsigned)c->c, (int)c->d, (struct timespec *)c->e);
        SAME(sendmmsg, fd, (struct mmsghdr *)c->b, (unsigned)c->c, (int)c->d);
        SAME(sendfile, fd, (int)c->b, (off_t *)c->c, (size_t)c->d);
        SAME(splice, fd, (off64_t *)c->b, (int)c->c, (off64_t *)c->d, (size_t)c->e, (unsigned)c->f);
    }
    return false;
}

/* Calls that make sockets, and set them up. */
static bool sets_up(const struct call *c, long *value) {
    int fd = (int)c->a;
    switch (c->number) {
        SAME(socket, fd, (int)c->b, (int)c->c);
        SAME(bind, fd, (const struct sockaddr *)c->b, (socklen_t)c->c);
        SAME(listen, fd, (int)c->b);
        SAME(accept, fd, (struct sockaddr *)c->b, (socklen_t *)c->c);
        SAME(accept4, fd, (struct sockaddr *)c->b, (socklen_t *)c->c, (int)c->d);
        SAME(connect, fd, (const struct sockaddr *)c->b, (socklen_t)c->c);
        SAME(getsockname, fd, (struct sockaddr *)c->b, (socklen_t *)c->c);
        SAME(getpeername, fd, (struct sockaddr *)c->b, (socklen_t *)c->c);
        SAME(getsockopt, fd, (int)c->b, (int)c->c, (void *)c->d, (socklen_t *)c->e);
        SAME(setsockopt, fd, (int)c->b, (int)c->c, (const void *)c->d, (socklen_t)c->e);
        SAME(shutdown, fd, (int)c->b);
        SAME(fcntl, fd, (int)c->b, (void *)c->c);
        SAME(ioctl, fd, (unsigned long)c->b, (void *)c->c);
    }
    return false;
}

/* Calls that end or copy numbers. */
static bool changes_numbers(const struct call *c, long *value) {
    switch (c->number) {
        SAME(close, (int)c->a);
        SAME(dup, (int)c->a);
        SAME(dup3, (int)c->a, (int)c->b, (int)c->c);
        SAME(close_range, (unsigned)c->a, (unsigned)c->b, (int)c->c);
        SAME(pipe2, (int *)c->a, (int)c->b);
        SAME(socketpair, (int)c->a, (int)c->b, (int)c->c, (int *)c->d);
#ifdef SYS_dup2
        SAME(dup2, (int)c->a, (int)c->b);
        SAME(pipe, (int *)c->a);
#endif
    }
    return false;
}

/* Calls that wait for several descriptors. */
static bool waits(const struct call *c, long *value) {
    const sigset_t *mask = (const sigset_t *)c->e;
    struct epoll_event *events = (struct epoll_event *)c->b;
    switch (c->number) {
        SAME(epoll_create1, (int)c->a);
        SAME(epoll_ctl, (int)c->a, (int)c->b, (int)c->c, (struct epoll_event *)c->d);
#ifdef SYS_poll
        SAME(epoll_create, (int)c->a);
        SAME(epoll_wait, (int)c->a, events, (int)c->c, (int)c->d);
        SAME(poll, (struct pollfd *)c->a, (nfds_t)c->b, (int)c->c);
        SAME(select, (int)c->a, (fd_set *)c->b, (fd_set *)c->c, (fd_set *)c->d, (struct timeval *)c->e);
#endif
    case SYS_epoll_pwait:
        if (!sound_mask(c->e, c->f))
            return false;
        *value = epoll_pwait((int)c->a, events, (int)c->c, (int)c->d, mask);
        return true;
#ifdef SYS_epoll_pwait2
    case SYS_epoll_pwait2:
        if (!sound_mask(c->e, c->f) || !sound_limit(c->d))
            return false;
        *value = epoll_pwait2((int)c->a, events, (int)c->c, (struct timespec *)c->d, mask);
        return true;
#endif
    case SYS_ppoll:
        *value = wait_by_poll(c);
        return true;
    case SYS_pselect6:
        *value = wait_by_select(c);
        return true;
    }
    return false;
}

/* Calls about the process. Those that change its rights do so for one thread, where libc's do for all. */
static bool is_about_process(const struct call *c, long *value) {
    switch (c->number) {
        SAME(execve, (const char *)c->a, (char *const *)c->b, (char *const *)c->c);
#ifdef SYS_fork
        SAME(fork, );
        SAME(vfork, );
#endif
    case SYS_execveat:
        adopt_stamp();
        return false;
    case SYS_setuid: case SYS_setreuid: case SYS_setresuid: case SYS_chroot:
        process_settle();
        return false;
    case SYS_setrlimit: case SYS_prlimit64:
        *value = pass_call(c);
        neat_limits_changed();
        return true;
    }
    if (!copies_memory(c))
        return false;
    *value = copy_process(c);
    return true;
}

/* Calls that give a number out, and nothing else. */
static bool gives_number(const struct call *c, long *value) {
    switch (c->number) {
    GIVES(signalfd4):
        if ((int)c->a >= 0)
            return false;          /* it changes that one */
        break;
    GIVES(openat): GIVES(eventfd2): GIVES(timerfd_create): GIVES(memfd_create): GIVES(inotify_init1):
    GIVES(fanotify_init): GIVES(open_by_handle_at): GIVES(userfaultfd): GIVES(perf_event_open):
    GIVES(mq_open):
#ifdef SYS_open
    GIVES(open): GIVES(creat): GIVES(eventfd): GIVES(inotify_init):
#endif
#ifdef SYS_pidfd_getfd
    GIVES(openat2): GIVES(pidfd_open): GIVES(pidfd_getfd):
#endif
        break;
    case SYS_io_uring_setup:
        if (io_uring_allowed)
            break;
        log_line("io_uring_setup() is refused: it reaches the kernel's sockets only (neat run --io-uring)");
        *value = result(-ENOSYS);
        return true;
    default:
        return false;
    }
    *value = fd_fresh((int)pass_call(c));
    return true;
}

/* Apart, and its result by value, so that what passes is a jump: libc's syscall() finds what our caller left.
 */
static __attribute__((noinline)) struct answer answer(struct call call) {
    struct answer answer = {false, -1};
    int before;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    answer.given = moves_bytes(&call, &answer.value) || sets_up(&call, &answer.value) ||
                   changes_numbers(&call, &answer.value) || waits(&call, &answer.value) ||
                   is_about_process(&call, &answer.value) || gives_number(&call, &answer.value);
    pthread_setcancelstate(before, NULL);
    return answer;
}

long call_by_number(long number, long a, long b, long c, long d, long e, long f) {
    struct answer found = answer((struct call){number, a, b, c, d, e, f});
    return found.given ? found.value : libc(syscall)(number, a, b, c, d, e, f);
}
