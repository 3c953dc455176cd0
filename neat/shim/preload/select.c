/* select() and pselect(), by way of poll.c when a descriptor of ours is among those that are asked for.
 * The sets are bit arrays of any length: glibc's FD_ macros stop at FD_SETSIZE, Linux does not. */
#include "poll.h"

#define FEW 64
#define BITS (8 * sizeof(unsigned long))
/* What makes a descriptor ready for each set (fs/select.c). */
#define IN_SET (POLLRDNORM | POLLRDBAND | POLLIN | POLLHUP | POLLERR | POLLNVAL)
#define OUT_SET (POLLWRBAND | POLLWRNORM | POLLOUT | POLLERR | POLLNVAL)
#define EXCEPT_SET (POLLPRI | POLLNVAL)

enum { IN, OUT, EXCEPT, SETS };

static bool set_has(const fd_set *set, int fd) {
    return set && (((const unsigned long *)set)[(size_t)fd / BITS] >> ((size_t)fd % BITS) & 1);
}

static void set_take(fd_set *set, int fd) {
    ((unsigned long *)set)[(size_t)fd / BITS] &= ~(1ul << ((size_t)fd % BITS));
}

/* The bits of `set` below `count`, 64 at a time: those of descriptors word * 64 and above. */
static unsigned long word_of(const fd_set *set, int count, int word) {
    if (!set)
        return 0;
    unsigned long bits = ((const unsigned long *)set)[word];
    int left = count - word * (int)BITS;
    return left >= (int)BITS ? bits : bits & ((1ul << left) - 1);
}

/* The asked descriptors; `fds` NULL: only count them. */
static nfds_t gather_sets(int count, fd_set *const sets[SETS], struct pollfd *fds) {
    nfds_t found = 0;
    for (int word = 0; word * (int)BITS < count; word++) {
        unsigned long any = 0;
        for (int i = 0; i < SETS; i++)
            any |= word_of(sets[i], count, word);
        for (; any; any &= any - 1) {
            int fd = word * (int)BITS + __builtin_ctzl(any);
            if (fds) {
                short events = set_has(sets[IN], fd) ? POLLIN | POLLRDNORM | POLLRDBAND : 0;
                events |= set_has(sets[OUT], fd) ? POLLOUT | POLLWRNORM | POLLWRBAND : 0;
                events |= set_has(sets[EXCEPT], fd) ? POLLPRI : 0;
                fds[found] = (struct pollfd){.fd = fd, .events = events};
            }
            found++;
        }
    }
    return found;
}

/* Leave in the sets what is ready. Returns how many bits that are; -EBADF. */
static int scatter(fd_set *const sets[SETS], const struct pollfd *fds, nfds_t found) {
    static const short wanted[SETS] = {IN_SET, OUT_SET, EXCEPT_SET};
    int bits = 0;
    for (nfds_t i = 0; i < found; i++)
        if (fds[i].revents & POLLNVAL)
            return -EBADF;
    for (int i = 0; i < SETS; i++) {
        if (!sets[i])
            continue;
        for (nfds_t k = 0; k < found; k++) {
            bool was = set_has(sets[i], fds[k].fd), is = was && (fds[k].revents & wanted[i]);
            bits += is;
            if (was && !is)
                set_take(sets[i], fds[k].fd);
        }
    }
    return bits;
}

static int select_mixed(int count, fd_set *const sets[SETS], int64_t timeout_ns, const sigset_t *mask) {
    struct pollfd few[FEW], *fds = few;
    nfds_t found = gather_sets(count, sets, NULL);
    if (found > FEW)
        fds = malloc(found * sizeof *fds);
    if (!fds)
        return -ENOMEM;
    gather_sets(count, sets, fds);
    int status = found ? poll_mixed(fds, found, timeout_ns, mask) : NOT_OURS;
    if (status >= 0)
        status = scatter(sets, fds, found);
    if (fds != few)
        free(fds);
    return status;
}

static bool plain_select(int count, const fd_set *in, const fd_set *out, const fd_set *except) {
    return count <= 0 || (in && bad_pointer(in)) || (out && bad_pointer(out)) ||
           (except && bad_pointer(except)) ||
           (!fd_any() && !epoll_end());
}

/* Linux looks at no more than the descriptors that there may be. */
static int cut_count(int count) {
    return count <= FD_SETSIZE || (uint64_t)count < fd_limit() ? count : (int)fd_limit();
}

NEAT_API int select(int count, fd_set *restrict in, fd_set *restrict out, fd_set *restrict except,
                    struct timeval *restrict timeout) {
    fd_set *const sets[SETS] = {in, out, except};
    int64_t limit = -1, began = 0;
    bool no_time = timeout && (bad_pointer(timeout) || timeout->tv_sec < 0 || timeout->tv_usec < 0);
    if (no_time || plain_select(count, in, out, except))
        return libc(select)(count, in, out, except, timeout);
    if (timeout && timeout->tv_sec <= INT32_MAX) {
        limit = timeout->tv_sec * INT64_C(1000000000) + timeout->tv_usec * INT64_C(1000);
        began = neat_now();
    }
    int status = select_mixed(cut_count(count), sets, limit, NULL);
    if (status == NOT_OURS)
        return libc(select)(count, in, out, except, timeout);
    if (limit >= 0) {
        /* Linux says how much is left. */
        int64_t left = limit - (neat_now() - began);
        left = left > 0 ? left / 1000 : 0;
        *timeout = (struct timeval){left / 1000000, left % 1000000};
    }
    return (int)result(status);
}

NEAT_API int pselect(int count, fd_set *restrict in, fd_set *restrict out, fd_set *restrict except,
                     const struct timespec *restrict timeout, const sigset_t *restrict mask) {
    fd_set *const sets[SETS] = {in, out, except};
    int64_t limit = poll_limit(timeout);
    bool plain = limit < -1 || plain_select(count, in, out, except);
    int status = plain ? NOT_OURS : select_mixed(cut_count(count), sets, limit, mask);
    return status == NOT_OURS ? libc(pselect)(count, in, out, except, timeout, mask) : (int)result(status);
}
