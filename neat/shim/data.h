/* Where bytes and datagrams move: rings, streams, datagrams. */
#ifndef NEAT_DATA_H
#define NEAT_DATA_H

#include "object.h"

/* ring.c: bytes between a ring and an iovec, wrapping; `skip` bytes of the iovec are done already. */
void neat_ring_read(const uint8_t *ring, uint32_t size, uint64_t at, const struct iovec *iov, int count,
                    size_t skip, size_t length);
void neat_ring_write(uint8_t *ring, uint32_t size, uint64_t at, const struct iovec *iov, int count,
                     size_t skip, size_t length);
void neat_ring_peek(const uint8_t *ring, uint32_t size, uint64_t at, void *data, size_t length);
void neat_ring_poke(uint8_t *ring, uint32_t size, uint64_t at, const void *data, size_t length);
size_t neat_iov_bytes(const struct iovec *iov, int count);

/* stream.c, stream_out.c */
/* Where a receive or send on this socket stands before it looks at the rings: 0, or what it returns. */
int neat_ready_to_move(struct neat_socket *s, int fd, int flags, bool sending);
/* Between the rings and a pipe: `count` bytes at most, which the pipe must have, or have room for. */
ssize_t neat_splice_in(struct neat_socket *s, int fd, int pipe, size_t count);
ssize_t neat_splice_out(struct neat_socket *s, int fd, int pipe, size_t count);
ssize_t neat_stream_recv(struct neat_socket *s, int fd, const struct iovec *iov, int count, int flags);
ssize_t neat_stream_send(struct neat_socket *s, int fd, const struct iovec *iov, int count, int flags);

/* datagram.c */
ssize_t neat_datagram_recv(struct neat_socket *s, int fd, struct msghdr *message, int flags);
ssize_t neat_datagram_send(struct neat_socket *s, int fd, const struct msghdr *message, int flags);
short neat_datagram_events(struct neat_socket *s);     /* POLLIN and POLLERR bits that hold now */

/* ancillary.c: what the application asked to be told of this datagram, into msg_control. */
void neat_put_control(const struct neat_socket *s, const struct neat_datagram *header,
                      struct msghdr *message);
/* The same of a connection; `bytes`: there were some. */
void neat_put_stream_control(struct neat_socket *s, bool bytes, struct msghdr *message);

/* tcpinfo.c */
struct tcp_info;
int neat_tcp_info(struct neat_socket *s, struct tcp_info *info);

#endif
