/* The second layer: libc's socket calls, interposed. Read first: ../client.h (the layer below), ../README.md.
 *
 * Each file holds one family of calls. A call looks its descriptor up (`fd_get`); one that is not ours goes
 * to libc unchanged; ours goes to the client core, whose negative errno `result` turns into what libc would
 * say. Nothing here keeps state beside the descriptor table (table.c), the epoll instances (epoll.c) and what
 * `neat run` said (route.c).
 *
 * A descriptor is one of
 *   - the kernel's: not in the table;
 *   - undecided: an Internet socket of which is not known yet where it goes. It is a real kernel socket, so
 *     that everything done with it before bind(), listen() or connect() is Linux's; a struct neat_socket
 *     stands beside it and has seen the same options;
 *   - NEaT's: its number is an end of the pair that the client core made.
  */
#ifndef NEAT_PRELOAD_H
#define NEAT_PRELOAD_H

#include "../object.h"

/* What this library alone keeps with a socket; all 0 at birth. */
struct interposed {
    /* Its kernel socket while it may still become the kernel's (sockets.c); 0 or less: none. */
    int aside;
    /* Level << 16 | name of what is set on that and cannot be on NEaT (sockopt.c). */
    uint32_t foreign;
};

_Static_assert(sizeof(struct interposed) == sizeof(((struct neat_socket *)0)->interposed), "its room");

static inline struct interposed *interposed(struct neat_socket *s) {
    return (struct interposed *)&s->interposed;
}

/* table.c. A socket from fd_get or fd_get_any is held for a call: give it back with neat_put. */
struct neat_socket *fd_get(int fd);            /* NULL: the kernel's, or undecided */
struct neat_socket *fd_get_any(int fd, bool *undecided);   /* NULL: the kernel's */
void fd_enter(int fd, struct neat_socket *s, bool undecided);    /* s brings a descriptor reference for it */
/* Takes it out, with its descriptor reference; NULL: was the kernel's. */
struct neat_socket *fd_leave(int fd);
/* The kernel has just given this number out (negative: none). Returns it, keeps errno. */
int fd_fresh(int fd);
int fds_fresh(int status, const int ends[2]);   /* numbers.c: the same for two, if `status` is 0 */
/* An undecided socket goes to NEaT: all its numbers become copies of a pair's end, flags kept. 0 or
 * -errno. Or to the kernel. */
int fd_decide_neat(struct neat_socket *s);
void fd_decide_kernel(struct neat_socket *s);
/* Back: all numbers of a socket on NEaT become copies of `kernel`, undecided or the kernel's. 0 or -errno. */
int fd_return(struct neat_socket *s, int kernel, bool undecided);
int fd_end(void);                              /* one beyond the highest that was ever ours */
/* As fd_get_any; an undecided one stays so until fd_release, which also gives it back. */
struct neat_socket *fd_hold(int fd, bool *undecided);
void fd_release(struct neat_socket *s, bool undecided);
/* descriptors.c: fcntl(fd, F_DUPFD or F_DUPFD_CLOEXEC, lowest) */
int fd_copy(int fd, int command, int lowest);
bool fd_any(void);                             /* whether this process ever had a socket of ours */

/* What libc's call says: a value, or -1 with errno. */
static inline long result(long value) {
    if (value >= 0)
        return value;
    errno = (int)-value;
    return -1;
}

/* NULL and what is as plainly no address of a program: Linux says EFAULT. Others are not told. */
static inline bool bad_pointer(const void *pointer) {
    return (intptr_t)pointer < 4096;
}

/* data.c */
void raise_sigpipe(void);                      /* -EPIPE was the answer to a send without MSG_NOSIGNAL */
/* The end of a call that sends: gives `s` back, says what libc would. */
ssize_t sent(struct neat_socket *s, ssize_t n, int flags);
/* 0, -EINVAL, -EFAULT; discard: NULL will do */
int check_parts(const struct iovec *iov, long count, bool discard);
int receive_flags(int flags);                  /* those of an application that mean something here */
int send_flags(int flags);
int fd_get_to(int fd, int *flags, const struct sockaddr *address, socklen_t length, struct neat_socket **out);
void stdio_replace(int fd);                    /* 0, 1 or 2 is another file from now on */
/* stdio.c: after exec, when the sockets that were left to us are in the table */
void stdio_adopt(void);
/* sockets.c: where an undecided UDP socket goes with its first datagram. 0, or why it cannot be sent
 * there. */
int fd_decide_for_peer(struct neat_socket *s, int fd, const struct sockaddr *address, socklen_t length);

/* sockopt.c */
void options_copy(struct neat_socket *s, int fd, int to);
/* Something is set that NEaT cannot do. */
bool options_need_kernel(struct neat_socket *s, const char **why);
void options_decided(struct neat_socket *s);   /* it is on NEaT now: say what has no effect there */

/* route.c: where an address goes, by the rules of `neat run`. */
enum route { ROUTE_KERNEL, ROUTE_NEAT };
enum route route_bind(int family, int type, const struct sockaddr *address, socklen_t length, bool v6only,
                      const char **why);
enum route route_connect(int family, int type, const struct sockaddr *address, socklen_t length,
                         const char **why);

/* log.c: `neat run -v`; and what was refused, to `neat status` (once for each kind in a process). */
extern bool log_verbose;
void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_refused(enum neat_refusal kind, int level, int name);

/* epoll.c and its family. */
void epoll_forget(int fd);                     /* the descriptor is being closed or replaced */
void epoll_lost(int fd);                       /* it was closed past us, and the number is another file's */
void epoll_moving(int fd);                     /* its number is about to refer to another file */
/* Its number refers to another file now: a socket on NEaT, which the caller holds; NULL: the kernel's, or
 * undecided. */
void epoll_moved(int fd, struct neat_socket *s);
bool epoll_is_instance(int fd);
/* After dup(): an epoll instance has one more number (any other descriptor: nothing happens). */
void epoll_copied(int fd, int copy);
/* One beyond the highest number that epoll_forget must hear of. */
int epoll_end(void);
void epoll_after_fork_child(void);             /* only this thread is left, and no lock is held */
/* This epoll instance will be polled by the kernel: nested, or poll()ed. */
void epoll_expose(int epfd);

/* process.c: before this process may lose the right to reach the stack, or the sight of it. */
void process_settle(void);

/* adopt.c */
/* Before an exec or a descriptor passing: say in shared memory which descriptor is which. */
void adopt_stamp(void);
/* About to be sent over a kernel socket, perhaps with descriptors. */
void adopt_passed(const struct msghdr *message);
void adopt_received(const struct msghdr *message);     /* came over one, perhaps with descriptors */
/* A descriptor that came from elsewhere: enter it if it is a NEaT socket of this application. */
bool adopt(int fd);

#endif
