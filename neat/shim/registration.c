/* This process's connection to the syscall server: found, made, made again.
 *
 * A process registers with HELLO when it first needs the stack. A forked child keeps its parent's
 * connection open, unused, until it has one of its own (JOIN): so the application lives on when its parent
 * ends, and a child that only calls exec costs nothing. A server that was restarted gets a new connection,
 * and knows the application by its token. Sockets that are set up need none of this.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "wire.h"
#include "order.h"

#define REPLY_SECONDS 5
#define RESTART_NS 3000000000      /* how long a restarted server may take to come back */
#define RETRY_NS 10000000
#define ATTEMPTS 4
#define FRESH_NS 1000000000        /* how long the bitmap of active replicas is believed */
#define UNTOLD 8                   /* messages that are kept until there is a connection */

static struct {
    pthread_mutex_t lock;
    int fd;
    int inherited;                 /* the parent's connection */
    /* The server's socket as a file, for who may not walk its path any more; -1. */
    int door;
    bool lost;                     /* the server did not come back in time: nobody waits for it again */
    bool known;                    /* app and token are valid */
    uint32_t app;
    uint64_t token;
    uint32_t replicas;             /* bitmap of those that were active at replicas_at */
    int64_t replicas_at;
    struct neat_addr local;        /* the stack's address and network; family 0: not heard of yet */
    uint32_t prefix;
    uint32_t seq;
    int untold_count;
    struct neat_msg untold[UNTOLD];
} self = {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1, .inherited = -1, .door = -1};

static struct {
    bool said;                     /* what follows was taken from the environment when the program began */
    int status;
    char path[sizeof((struct sockaddr_un *)0)->sun_path];
    uint64_t app;                  /* token, 0: the server's choice */
} place;

static int look_up_path(char *path, size_t room) {
    const char *whole = getenv("NEAT_RUN_DIR"), *name = getenv("NEAT_STACK");
    const char *base = getenv("XDG_RUNTIME_DIR");
    int length;
    if (!name || !*name)
        name = "default";
    if (whole && *whole)
        length = snprintf(path, room, "%s/syscall.sock", whole);
    else if (geteuid() == 0)
        length = snprintf(path, room, "/run/neat/%s/syscall.sock", name);
    else if (base && *base)
        length = snprintf(path, room, "%s/neat/%s/syscall.sock", base, name);
    else
        return -ENETDOWN;
    return length < (int)room ? 0 : -ENAMETOOLONG;
}

/* The token that `neat run` gave this program and all that it starts; 0: none, the server chooses one. */
static uint64_t look_up_app(void) {
    const char *text = getenv("NEAT_APP");
    return text ? strtoull(text, NULL, 16) : 0;
}

static int server_path(char *path, size_t room) {
    if (!place.said)
        return look_up_path(path, room);
    memcpy(path, place.path, sizeof place.path < room ? sizeof place.path : room);
    return place.status;
}

/* Programs may change their environment, or clear it; what was said at the start holds. Call it before
 * there are threads. */
void neat_remember_place(void) {
    place.status = look_up_path(place.path, sizeof place.path);
    place.app = look_up_app();
    place.said = true;
}

static void hang_up(void) {
    if (self.fd >= 0)
        neat_close_own(self.fd);
    self.fd = -1;
}

/* /proc leads to the open file itself, and asks for no right to the directories above it (proc_pid_fd(5)). */
static int connect_door(int fd) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int status = -1;
    if (self.door < 0)
        return status;
    snprintf(at.sun_path, sizeof at.sun_path, "/proc/self/fd/%d", self.door);
    do
        status = libc(connect)(fd, (struct sockaddr *)&at, sizeof at);
    while (status < 0 && errno == EINTR);
    return status;
}

static int dial(void) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct timeval limit = {.tv_sec = REPLY_SECONDS};
    int status = server_path(at.sun_path, sizeof at.sun_path);
    if (status < 0)
        return status;
    int64_t deadline = neat_now() + (self.known && !self.lost ? RESTART_NS : 0);
    int fd = libc(socket)(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    libc(setsockopt)(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    libc(setsockopt)(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    while (libc(connect)(fd, (struct sockaddr *)&at, sizeof at) < 0) {
        int error = errno;
        bool forbidden = error == EACCES || error == EPERM;
        if (error == EINTR)
            continue;
        if (connect_door(fd) == 0)
            break;
        if (forbidden || neat_now() >= deadline) {
            self.lost = true;
            libc(close)(fd);
            return forbidden ? -error : -ENETDOWN;
        }
        nanosleep(&(struct timespec){0, RETRY_NS}, NULL);
    }
    self.lost = false;
    self.fd = neat_hide_fd(fd);
    neat_hold_own(&self.fd);
    return 0;
}

void neat_keep_door(void) {
    char path[sizeof((struct sockaddr_un *)0)->sun_path];
    pthread_mutex_lock(&self.lock);
    int fd = self.door < 0 && server_path(path, sizeof path) == 0 ? libc(open)(path, O_PATH | O_CLOEXEC) : -1;
    if (fd >= 0) {
        self.door = neat_hide_fd(fd);
        neat_hold_own(&self.door);
    }
    pthread_mutex_unlock(&self.lock);
}

static void close_both(int got[2]) {
    for (int i = 0; i < 2; i++) {
        if (got[i] >= 0)
            libc(close)(got[i]);
        got[i] = -1;
    }
}

/* One request and its answer on the connection that is there. -EPIPE: the connection is broken, try
 * another. */
static int exchange(struct neat_msg *message, const int *fds, int nfds, int got[2]) {
    struct neat_msg reply;
    int status;
    message->magic = NEAT_MSG_MAGIC;
    message->flags = 0;
    message->seq = ++self.seq;
    message->app = self.app;
    while ((status = neat_message_send(self.fd, message, fds, nfds)) == -EINTR)
        ;
    if (status < 0)
        return status == -EMFILE || status == -ETOOMANYREFS ? status : -EPIPE;
    for (;;) {
        ssize_t n = neat_message_recv(self.fd, &reply, sizeof reply, MSG_CMSG_CLOEXEC, got);
        if (n == -EINTR)
            continue;
        if (n <= 0 && n != -EMSGSIZE)
            return -EPIPE;
        if (n == sizeof reply && reply.magic == NEAT_MSG_MAGIC && reply.op == message->op &&
            (reply.flags & NEAT_MSG_REPLY) && reply.seq == message->seq)
            break;
        tally(bad_messages);
        close_both(got);
    }
    *message = reply;
    if (message->op != NEAT_OP_HELLO && message->op != NEAT_OP_JOIN) {
        message->app = self.app;
        message->token = self.token;
    }
    if (reply.error)
        return reply.error > 0 && reply.error < 4096 ? -reply.error : -EPROTO;
    return 0;
}

static void tell_all(void) {
    for (int i = 0; i < self.untold_count; i++) {
        struct neat_msg *message = &self.untold[i];
        message->magic = NEAT_MSG_MAGIC;
        message->seq = ++self.seq;
        message->app = self.app;
        if (libc(send)(self.fd, message, sizeof *message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
            tally(bad_messages);
    }
    self.untold_count = 0;
}

static int introduce_process(uint16_t op) {
    int got[2] = {-1, -1};
    struct neat_msg message = {.op = op, .token = self.token};
    int status = exchange(&message, NULL, 0, got);
    close_both(got);
    if (status == 0) {
        self.known = true;
        self.app = message.app;
        self.token = message.token;
        self.replicas = message.replica;
        self.replicas_at = neat_now();
        self.local = message.local;
        self.prefix = message.prefix;
    }
    return status;
}

/* A connection over which this application is known. Caller holds the lock. */
static int attach(void) {
    bool again = self.known;
    if (self.fd >= 0)
        return 0;
    int status = dial();
    if (status < 0)
        return status;
    status = self.known ? introduce_process(NEAT_OP_JOIN) : -ENOENT;
    if (status < 0 && status != -EPIPE) {
        self.token = place.said ? place.app : look_up_app();
        self.app = 0;
        status = introduce_process(NEAT_OP_HELLO);
    }
    if (status < 0) {
        hang_up();
        return status;
    }
    if (again && self.inherited < 0)
        tally(reconnects);
    if (self.inherited >= 0)
        neat_close_own(self.inherited);
    self.inherited = -1;
    tell_all();
    return 0;
}

int neat_attach(uint64_t *token) {
    pthread_mutex_lock(&self.lock);
    int status = attach();
    *token = self.token;
    pthread_mutex_unlock(&self.lock);
    return status;
}

int neat_request(struct neat_msg *message, const int *fds, int nfds, int got[2]) {
    struct neat_msg request = *message;
    int mine[2], status = -EPIPE, cancel;
    if (!got)
        got = mine;
    got[0] = got[1] = -1;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);   /* nobody else would give the lock back */
    pthread_mutex_lock(&self.lock);
    for (int i = 0; i < ATTEMPTS && status == -EPIPE; i++) {
        status = attach();
        if (status == 0) {
            *message = request;
            status = exchange(message, fds, nfds, got);
            if (status == -EPIPE)
                hang_up();
        }
    }
    pthread_mutex_unlock(&self.lock);
    if (got == mine || status < 0)
        close_both(got);
    pthread_setcancelstate(cancel, NULL);
    return status == -EPIPE ? -ENETDOWN : status;
}

uint32_t neat_active_replicas(bool refresh) {
    pthread_mutex_lock(&self.lock);
    bool stale = refresh || neat_now() - self.replicas_at > FRESH_NS;
    uint32_t bitmap = self.replicas;
    pthread_mutex_unlock(&self.lock);
    if (!stale)
        return bitmap;
    struct neat_msg message = {.op = NEAT_OP_PREFER};
    if (neat_request(&message, NULL, 0, NULL) < 0)
        return bitmap;
    pthread_mutex_lock(&self.lock);
    self.replicas = message.replica;
    self.replicas_at = neat_now();
    pthread_mutex_unlock(&self.lock);
    return message.replica;
}

int neat_stack_address(struct neat_addr *local, uint32_t *prefix) {
    pthread_mutex_lock(&self.lock);
    int status = self.local.family ? 0 : attach();
    *local = self.local;
    *prefix = self.prefix;
    pthread_mutex_unlock(&self.lock);
    return status == 0 && !local->family ? -EPROTO : status;
}

/* For what is not answered. It is kept while there is no connection, and lost to a signal handler inside
 * of a request. */
void neat_tell(struct neat_msg *message) {
    if (pthread_mutex_trylock(&self.lock))
        return;
    if (self.untold_count < UNTOLD)
        self.untold[self.untold_count++] = *message;
    if (self.fd >= 0)
        tell_all();
    pthread_mutex_unlock(&self.lock);
}

bool neat_registered(void) {
    pthread_mutex_lock(&self.lock);
    bool connected = self.fd >= 0;
    pthread_mutex_unlock(&self.lock);
    return connected;
}

static void registration_before_fork(void) {
    pthread_mutex_lock(&self.lock);
}

static void registration_in_parent(void) {
    pthread_mutex_unlock(&self.lock);
}

static void registration_in_child(void) {
    pthread_mutex_init(&self.lock, NULL);
    neat_lock_forget();
    if (self.fd < 0)
        return;
    if (self.inherited >= 0)
        neat_close_own(self.fd);
    else
        self.inherited = self.fd;
    self.fd = -1;
    if (self.inherited >= 0)
        neat_hold_own(&self.inherited);
}

AT_START(ORDER_REGISTRATION) void set_up_registration(void) {
    pthread_atfork(registration_before_fork, registration_in_parent, registration_in_child);
}
