/* O_NONBLOCK of a socket's descriptors, without asking the kernel in each call. */
#include <fcntl.h>

#include "object.h"

/* A new generation each time that another process may have got descriptors of ours. */
static uint32_t flags_generation = 1;

void neat_flags_shared(void) {
    add(&flags_generation, 1);
}

uint32_t neat_flags_now(void) {
    return load(&flags_generation);
}

void neat_flags_born(struct neat_socket *s, bool nonblock, uint32_t now) {
    store(&s->descriptor.nonblock, (uint32_t)nonblock);
    store(&s->descriptor.flags_known, now);
}

bool neat_flags_known(const struct neat_socket *s) {
    return load(&s->descriptor.flags_known) == load(&flags_generation);
}

bool neat_nonblocking(const struct neat_socket *s, int fd, int flags) {
    if (flags & MSG_DONTWAIT)
        return true;
    return neat_flags_known(s) ? load(&s->descriptor.nonblock) : (libc(fcntl)(fd, F_GETFL) & O_NONBLOCK) != 0;
}
