/* exact.c: what poll() and epoll say of a socket of ours. POLL* bits, which EPOLL*'s are. */
#ifndef NEAT_PRELOAD_EXACT_H
#define NEAT_PRELOAD_EXACT_H

#include "preload.h"

_Static_assert(POLLIN == EPOLLIN && POLLOUT == EPOLLOUT && POLLRDHUP == EPOLLRDHUP && POLLERR == EPOLLERR &&
                   POLLHUP == EPOLLHUP,
               "one set");

/* What holds now, from what we know ourselves (poll of Linux's tcp and udp). */
short known_events(struct neat_socket *s, int fd, short wanted);
/* What holds, from what the kernel says of its descriptor. */
short exact_events(struct neat_socket *s, int fd, short wanted, short kernel);

#endif
