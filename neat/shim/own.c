/* Descriptors of our own: connections to the syscall server, doorbells, bells. The application did not open
 * them, so it must neither meet them among its low numbers nor close them: programs that become daemons close
 * all that they know of. */
#include <sys/resource.h>

#include "base.h"

#define MOST 65536                 /* a descriptor beyond is not protected */
#define LOW 700                    /* above what programs count on, below FD_SETSIZE */

static uint64_t own[MOST / 64];
static int *holders[MOST];         /* where the number is kept, if it may change */
static int own_end;

bool neat_is_own(int fd) {
    return fd >= 0 && fd < MOST && (load(&own[fd / 64]) >> (fd % 64) & 1);
}

int neat_own_end(void) {
    return load(&own_end);
}

static void set_own(int fd, bool ours) {
    int seen = load(&own_end);
    if (fd < 0 || fd >= MOST)
        return;
    uint64_t bit = UINT64_C(1) << (fd % 64);
    while (ours && seen <= fd && !swap_if(&own_end, &seen, fd + 1))
        ;
    if (ours)
        set_bits(&own[fd / 64], bit);
    else
        clear_bits(&own[fd / 64], bit);
}

/* A copy out of the range that applications count on, close-on-exec; -1. */
static int copy_high(int fd) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur < 8)
        return -1;
    int high = libc(fcntl)(fd, F_DUPFD_CLOEXEC,
                           limit.rlim_cur >= 1024 ? LOW : (int)(limit.rlim_cur - limit.rlim_cur / 4));
    return high;
}

int neat_copy_hidden(int fd) {
    int high = libc(fcntl)(fd, F_DUPFD_CLOEXEC, LOW);
    set_own(high, true);
    return high;
}

/* It stays where it is when there is no room above. */
int neat_hide_fd(int fd) {
    int high = copy_high(fd);
    if (high >= 0)
        libc(close)(fd);
    else
        libc(fcntl)(fd, F_SETFD, FD_CLOEXEC);
    set_own(high >= 0 ? high : fd, true);
    return high >= 0 ? high : fd;
}

void neat_hold_own(int *where) {
    int fd = load(where);
    if (neat_is_own(fd))
        store(&holders[fd], where);
}

int neat_move_own(int fd) {
    int *where = load(&holders[fd]), fresh = where && load(where) == fd ? copy_high(fd) : -1;
    if (fresh < 0)
        return -EBUSY;
    set_own(fresh, true);
    store(&holders[fresh], where);
    store(where, fresh);
    store(&holders[fd], NULL);
    set_own(fd, false);
    return 0;
}

void neat_own_lost(int fd) {
    int *where = load(&holders[fd]), seen = fd;
    store(&holders[fd], NULL);
    set_own(fd, false);
    if (where)
        swap_if(where, &seen, -1);
}

void neat_show_fd(int fd) {
    if (fd >= 0 && fd < MOST)
        store(&holders[fd], NULL);
    set_own(fd, false);
}

void neat_close_own(int fd) {
    neat_show_fd(fd);
    libc(close)(fd);
}
