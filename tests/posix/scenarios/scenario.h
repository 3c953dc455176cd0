/* What every scenario uses. A scenario calls libc as programs do, and prints a transcript: a line for each
 * step, with its result. Nothing in a transcript may depend on the moment: no times, ports, pids; what
 * arrives from the peer is awaited first.
 *
 * `FAMILY NAME` runs one; more arguments are for the program that a scenario execs (see
 * PROGRAM). */
#ifndef SCENARIO_H
#define SCENARIO_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

struct scenario {
    const char *name;
    void (*run)(void);
    struct scenario *next;
};
void scenario_add(struct scenario *s);

#define SCENARIO(id) \
    static void scenario_##id(void); \
    __attribute__((constructor)) static void add_##id(void) { \
        static struct scenario s = {.name = #id, .run = scenario_##id}; \
        scenario_add(&s); \
    } \
    static void scenario_##id(void)

/* Runs in the place of a scenario: what a scenario starts with exec, as `FAMILY =id argument…` (self()). */
#define PROGRAM(id) \
    static int program_##id(int argc, char **argv); \
    __attribute__((constructor)) static void add_program_##id(void) { \
        scenario_program("=" #id, program_##id); \
    } \
    static int program_##id(__attribute__((unused)) int argc, __attribute__((unused)) char **argv)
void scenario_program(const char *name, int (*run)(int argc, char **argv));
const char *self(void);            /* the path of this program */

/* Transcript. STEP prints the call and its value or errno; OPENS the same of what returns a descriptor,
 * without its number. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
long step(const char *what, long value, int error, bool opens);
#define STEP(call) ({ errno = 0; long value_ = (long)(call); step(#call, value_, errno, false); })
#define OPENS(call) ({ errno = 0; long value_ = (long)(call); (int)step(#call, value_, errno, true); })
const char *errno_name(int error);
const char *bytes(const void *data, long length);          /* quoted, not printable ones as \xHH */
const char *poll_names(int events);
const char *epoll_names(uint32_t events);
const char *name_of(const struct sockaddr *address,
                    socklen_t length);   /* `subject:its port`, `peer:port`, … */
const char *local_name(int fd);
const char *remote_name(int fd);
void give_up(const char *what);    /* this run cannot go on */

/* The other end of the wire (peer.py): a command, its answer's number; the text of the answer is in
 * peer_text. A failure there is a line in the transcript, and -1. */
extern char peer_text[1 << 16];
long peer(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Addresses. port 0: any. */
struct sockaddr_in subject_address(int port), peer_address(int port),
    local_address(const char *host, int port);
#define SA(a) ((struct sockaddr *)&(a))
#define IN(a) SA(a), sizeof(a)
int port_of(int fd);

/* Sockets in a known state, without a line. The peer's end has the name `p`. */
int tcp(void);
int udp(void);
int listener(int backlog);         /* on the subject's address, any port */
int connected(void);               /* the subject opened it */
int accepted(void);                /* the peer opened it */
int accept_one(int listening, const char *name);   /* from the peer, whose end gets that name */
int udp_connected(void);

/* Waiting. Until poll says all of `wanted`, at most 5 s: what poll says then of `events`. */
int settled(int fd, int events, int wanted);
#define SETTLED(fd, events, wanted) say("settled " #fd ": %s", poll_names(settled(fd, events, wanted)))
#define POLL(fd, asked, timeout) \
    ({ struct pollfd p_ = {fd, asked, 0}; int n_ = poll(&p_, 1, timeout); \
       say("poll " #fd " " #asked ": %d %s", n_, poll_names(n_ > 0 ? p_.revents : 0)); n_; })
void nonblocking(int fd);
void pause_ms(int ms); /* for what must not happen, and for another thread to be asleep in a call */
long read_all(int fd, void *data, size_t length);    /* until length, end or error */
void catch_signal(int number, int flags);            /* counts in `caught` */
extern volatile sig_atomic_t caught;
void interrupt_after(int ms);      /* SIGALRM; with catch_signal */
int reap(pid_t pid);               /* prints how it ended */
#define MSEC(n) ((struct timespec){.tv_sec = (n) / 1000, .tv_nsec = (n) % 1000 * 1000000})

#endif
