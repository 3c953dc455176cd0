/* The pair of ends that a socket's descriptor is one of. */
#include <unistd.h>

#include "setup.h"

int neat_pair_make(int ends[2], int nonblock) {
    if (libc(socketpair)(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | nonblock, 0, ends) < 0)
        return -errno;
    if (libc(send)(ends[0], "c", 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1)
        return 0;
    int error = errno;
    libc(close)(ends[0]);
    libc(close)(ends[1]);
    return -error;
}

int neat_pair(int *application_end, int *stack_end) {
    int ends[2], zero = 0, status = neat_pair_make(ends, 0);
    if (status < 0)
        return status;
    libc(setsockopt)(ends[0], SOL_SOCKET, SO_SNDBUF, &zero, sizeof zero);
    *application_end = ends[0];
    *stack_end = neat_hide_fd(ends[1]);
    neat_hold_own(stack_end);
    return 0;
}
