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
int neat_pair(int *application_end, int *stack_end);        /* the canary is in it */

/* spares.c: application's ends of pairs whose connections are over, for the next ones. Any thread, signal
 * handlers too. */
struct spare;
/* A copy of this end, and its *name in the segment's table; nobody takes it until it is settled whether it
 * stays. NULL: not kept. */
struct spare *neat_spare_keep(const struct segment *segment, int fd, bool nonblock, uint64_t *name);
void neat_spare_settle(struct spare *spare, const struct segment *segment, bool stays);
/* The descriptor of one that the segment's replica has kept, too, under a number of the application;
 * *nonblock: how it is. -ENOENT: this process has none, -EMFILE. */
int neat_spare_take(const struct segment *segment, bool cloexec, bool *nonblock, uint64_t *name);
/* Its place; the replica closes its end when it comes by. */
void neat_spare_give_up(const struct segment *segment, uint64_t name);
bool neat_spares_drop(void);       /* whether there were any: numbers are free now */
/* At an accept() there: this process may have some for the next ones. */
void neat_spares_accepted(struct neat_sock *listener);
void neat_spares_limit_changed(void);

/* subsockets.c */
int neat_subsockets_open(struct neat_socket *s, const struct neat_msg *bound);
bool neat_subsockets_read(struct neat_socket *s, int fd, int limit);

/* setup.c, connect.c */
/* What is set on a listener for the connections that it will accept goes into its socket objects: a
 * program after exec finds it there. */
void neat_listener_apply(struct neat_socket *s);
/* RLIMIT_NOFILE does not change without neat_limits_changed(): each setrlimit() passes by us. */
extern uint32_t neat_limits_seen;
void neat_limits_changed(void);
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
