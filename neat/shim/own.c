/* Descriptors of our own: connections to the syscall server, doorbells, bells. The application did not open them, so it must neither
 * meet them among its low numbers nor close them: programs that become daemons close all that they know of. */
#include <sys/resource.h>

#include "internal.h"

#define MOST 65536                 /* a descriptor beyond is not protected */
#define LOW 700                    /* above what programs count on, below FD_SETSIZE */

static uint64_t own[MOST / 64];

bool neat_is_own(int fd) {
    return fd >= 0 && fd < MOST && (load(&own[fd / 64]) >> (fd % 64) & 1);
}

static void set_own(int fd, bool ours) {
    uint64_t bit = UINT64_C(1) << (fd % 64);
    if (fd < 0 || fd >= MOST)
        return;
    if (ours)
        set_bits(&own[fd / 64], bit);
    else
        clear_bits(&own[fd / 64], bit);
}

/* Move a descriptor out of the range that applications count on, close-on-exec; it stays where it is when that fails. */
int neat_hide_fd(int fd) {
    struct rlimit limit;
    int high = -1;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur >= 128)
        high = libc(fcntl)(fd, F_DUPFD_CLOEXEC, limit.rlim_cur >= 1024 ? LOW : (int)limit.rlim_cur / 2);
    if (high >= 0)
        libc(close)(fd);
    set_own(high >= 0 ? high : fd, true);
    return high >= 0 ? high : fd;
}

void neat_close_own(int fd) {
    set_own(fd, false);
    libc(close)(fd);
}
