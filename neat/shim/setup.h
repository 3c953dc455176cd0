/* How a socket comes to be bound, to listen, to be connected, and to end. */
#ifndef NEAT_SETUP_H
#define NEAT_SETUP_H

#include "object.h"

/* settings.c */
void neat_options_apply(struct neat_socket *s, const struct endpoint *end);
void neat_options_read(struct neat_socket *s, const struct neat_sock *shared);
uint32_t neat_receive_limit(const struct settings *settings);
uint32_t neat_synacks_of(int seconds);         /* TCP_DEFER_ACCEPT, as it is kept */
uint32_t neat_defer_seconds(const struct neat_socket *s);  /* TCP_DEFER_ACCEPT; 0: off */

/* pair.c */
/* Both ends of a pair, close-on-exec; the canary is in it. `nonblock`: SOCK_NONBLOCK or 0. */
int neat_pair_make(int ends[2], int nonblock);
int neat_pair(int *application_end, int *stack_end);        /* the canary is in it */

/* spares.c: pairs for the next connections. Any thread, signal handlers too. */
struct spare;
/* A reserve for an accept(), in the caller's hands, so that whatever that takes gets a descriptor: it goes
 * back, or its number is taken. 0, -EMFILE, -ENFILE, -ENOMEM. */
int neat_spare_reserve(struct spare **out);
/* have one, so that there is one when the application has used up its numbers */
void neat_spares_stock(void);
/* The pair for a connection of this segment: one whose stack's end the replica has kept, and its *name;
 * else (*name 0) the reserve, with a new pair in it if there can be one. What is not the reserve goes back
 * or is taken likewise. */
struct spare *neat_spare_choose(struct spare *reserve, const struct segment *segment, bool nonblock,
                                uint64_t *name);
void neat_spare_back(struct spare *spare);
bool neat_spare_nonblock(const struct spare *spare);
int neat_spare_stack_end(const struct spare *spare);
/* The application's end becomes the application's, under the lowest number that is free; a stack's end
 * that is here is closed. It cannot fail. */
int neat_spare_number(struct spare *spare, bool cloexec);
/* A copy of this end of a connection that is about to be closed, and its *name in the segment's table;
 * nobody takes it until it is settled whether it stays. NULL: not kept. */
struct spare *neat_spare_keep(const struct segment *segment, int fd, bool nonblock, uint64_t *name);
void neat_spare_settle(struct spare *spare, const struct segment *segment, bool stays);
bool neat_spares_drop(void);       /* whether there were any: numbers are free now */
void neat_limits_changed(void);    /* RLIMIT_NOFILE may have */

/* subsockets.c */
int neat_subsockets_open(struct neat_socket *s, const struct neat_msg *bound);
bool neat_subsockets_read(struct neat_socket *s, int fd, int limit);

/* setup.c, connect.c */
/* What is set on a listener for the connections that it will accept goes into its socket objects: a
 * program after exec finds it there. */
void neat_listener_apply(struct neat_socket *s);
int neat_bind_locked(struct neat_socket *s, int fd, const struct neat_addr *local);
/* Linux's tcp_disconnect(): it is as new, under the same number, but for the port that the application
 * chose. A connection is reset. Caller holds `setup.lock`. 0 or -errno. */
int neat_disconnect_locked(struct neat_socket *s, int fd);
/* How a connect() that is under way stands: 0 done, -EINPROGRESS, or what it failed with (the socket is as
 * new then). */
int neat_connect_status(struct neat_socket *s, int fd);
/* shutdown() of an attempt to connect ends it: 0. -ENOTCONN: it has failed, which is still to be told. 1:
 * it is a connection now. */
int neat_connect_end(struct neat_socket *s, int fd);

/* life.c */
/* `fd` is about to be closed or replaced by the caller, who then says neat_undup: calls that are under way
 * go on with a copy. */
void neat_leave(struct neat_socket *s, int fd);

#endif
