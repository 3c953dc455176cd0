/* What connections say when their replicas are killed: lost HOST PORT PID... The peer there echoes. A line
 * for each: how it was heard of, the call that sends, what it says the first and the second time, how often
 * SIGPIPE came, who the peer is, and the error that is left. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define RING_TENTH 100000          /* of the bytes that a transmit ring holds */
#define PATIENCE_MS 20000

static volatile sig_atomic_t pipes;
static int file, ends[2];

static void count(int number) {
    (void)number;
    pipes++;
}

static long by_send(int fd) {
    return send(fd, "x", 1, 0);
}

static long by_write(int fd) {
    return write(fd, "x", 1);
}

static long by_writev(int fd) {
    return writev(fd, &(struct iovec){"x", 1}, 1);
}

static long by_sendmsg(int fd) {
    struct msghdr message = {.msg_iov = &(struct iovec){"x", 1}, .msg_iovlen = 1};
    return sendmsg(fd, &message, 0);
}

static long by_sendmmsg(int fd) {
    struct mmsghdr message = {.msg_hdr = {.msg_iov = &(struct iovec){"x", 1}, .msg_iovlen = 1}};
    return sendmmsg(fd, &message, 1, 0);
}

static long by_sendfile(int fd) {
    off_t start = 0;
    return sendfile(fd, file, &start, 1);
}

static long by_splice(int fd) {
    if (write(ends[1], "x", 1) != 1)
        exit(3);
    return splice(ends[0], NULL, fd, NULL, 1, 0);
}

static void hear_by_poll(int fd) {
    struct pollfd p = {.fd = fd};
    if (poll(&p, 1, PATIENCE_MS) != 1 || !(p.revents & POLLERR))
        exit(4);
}

static void hear_by_select(int fd) {
    fd_set readable;
    FD_ZERO(&readable);
    FD_SET(fd, &readable);
    if (select(fd + 1, &readable, NULL, NULL, &(struct timeval){PATIENCE_MS / 1000, 0}) != 1)
        exit(4);
}

static void hear_by_epoll(int fd) {
    int epfd = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    if (epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &event) < 0 || epoll_wait(epfd, &event, 1, PATIENCE_MS) != 1 ||
        !(event.events & EPOLLERR))
        exit(4);
    close(epfd);
}

/* Nobody asks but the call itself: it succeeds as long as the stack does not know. */
static void hear_by_nothing(int fd) {
    (void)fd;
}

static const struct {
    const char *name;
    long (*call)(int fd);
} senders[] = {{"send", by_send},       {"write", by_write},       {"writev", by_writev},
               {"sendmsg", by_sendmsg}, {"sendmmsg", by_sendmmsg}, {"sendfile", by_sendfile},
               {"splice", by_splice}};
static const struct {
    const char *name;
    void (*hear)(int fd);
} ways[] = {{"poll", hear_by_poll},
            {"select", hear_by_select},
            {"epoll", hear_by_epoll},
            {"nothing", hear_by_nothing}};

#define SENDERS (int)(sizeof senders / sizeof *senders)
#define WAYS (int)(sizeof ways / sizeof *ways)

static int dial(const char *host, const char *port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port))};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    char byte;
    inet_pton(AF_INET, host, &to.sin_addr);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0 || write(fd, "x", 1) != 1 ||
        read(fd, &byte, 1) != 1)
        exit(2);
    return fd;
}

static const char *outcome(long value) {
    return value < 0 ? strerrorname_np(errno) : "success";
}

static int pending(int fd) {
    int error = -1;
    socklen_t length = sizeof error;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
    return error;
}

/* The first call: after `nothing`, until it fails, for which the ring's room would not be enough. */
static long first(long (*call)(int fd), int fd, int patient) {
    long value = call(fd);
    for (int sent = 1; patient && value > 0 && sent < RING_TENTH && sent < PATIENCE_MS; sent++) {
        nanosleep(&(struct timespec){0, 1000000}, NULL);
        value = call(fd);
    }
    return value;
}

int main(int argc, char **argv) {
    int fds[WAYS][SENDERS];
    struct sockaddr_in name;
    file = open(argv[0], O_RDONLY);
    if (argc < 4 || file < 0 || pipe(ends) < 0)
        return 2;
    signal(SIGPIPE, count);
    for (int w = 0; w < WAYS; w++)
        for (int c = 0; c < SENDERS; c++)
            fds[w][c] = dial(argv[1], argv[2]);
    int lingering = dial(argv[1], argv[2]);
    setsockopt(lingering, SOL_SOCKET, SO_LINGER, &(struct linger){1, 600}, sizeof(struct linger));
    for (int i = 3; i < argc; i++)
        kill(atoi(argv[i]), SIGKILL);
    for (int w = 0; w < WAYS; w++)
        for (int c = 0; c < SENDERS; c++) {
            int fd = fds[w][c];
            socklen_t length = sizeof name;
            ways[w].hear(fd);
            const char *one = outcome(first(senders[c].call, fd, ways[w].hear == hear_by_nothing));
            pipes = 0;
            const char *two = outcome(senders[c].call(fd));
            const char *who = outcome(getpeername(fd, (struct sockaddr *)&name, &length));
            printf("%s %s: %s %s %d %s %d\n", ways[w].name, senders[c].name, one, two, (int)pipes, who,
                   pending(fd));
        }
    printf("close: %s\n", outcome(close(lingering)));     /* there is nobody to wait for */
    return 0;
}
