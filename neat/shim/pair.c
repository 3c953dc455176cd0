/* The pair of ends that a socket's descriptor is one of. */
#include "setup.h"

int neat_pair(int *application_end, int *stack_end) {
    int ends[2], zero = 0;
    if (libc(socketpair)(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    libc(setsockopt)(ends[0], SOL_SOCKET, SO_SNDBUF, &zero, sizeof zero);
    if (libc(send)(ends[0], "c", 1, MSG_DONTWAIT | MSG_NOSIGNAL) != 1) {
        int error = errno;
        libc(close)(ends[0]);
        libc(close)(ends[1]);
        return -error;
    }
    *application_end = ends[0];
    *stack_end = neat_hide_fd(ends[1]);
    neat_hold_own(stack_end);
    return 0;
}
