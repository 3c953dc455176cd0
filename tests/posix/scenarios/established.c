/* A non-blocking connect() that poll, select or epoll has said is over: what each call says when it is the
 * first one to ask. */
#include "scenario.h"

#include <sys/ioctl.h>
#include <sys/select.h>

/* Under way to the peer's listener `l`. */
static int begun(void) {
    int fd = tcp();
    nonblocking(fd);
    struct sockaddr_in to = peer_address(peer("listen l"));
    if (connect(fd, IN(to)) == 0 || errno != EINPROGRESS)
        give_up("connect");
    return fd;
}

static int established(void) {
    int fd = begun();
    SETTLED(fd, POLLOUT, POLLOUT);
    return fd;
}

static int refused(void) {
    int fd = tcp();
    nonblocking(fd);
    struct sockaddr_in to = peer_address(peer("unused"));
    if (connect(fd, IN(to)) == 0 || errno != EINPROGRESS)
        give_up("connect");
    SETTLED(fd, POLLIN | POLLOUT | POLLRDHUP, POLLERR | POLLHUP);
    return fd;
}

static const char *pending(int fd) {
    int error = -1;
    socklen_t length = sizeof error;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
    return errno_name(error);
}

static void say_state(int fd) {
    struct tcp_info info = {0};
    socklen_t length = sizeof info;
    STEP(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length));
    say("state %d", info.tcpi_state);
}

SCENARIO(getpeername_after_poll) {
    int fd = established();
    say("%s", remote_name(fd));
    say("pending: %s, %s", pending(fd), remote_name(fd));
}

SCENARIO(getpeername_after_select) {
    int fd = begun();
    fd_set writable;
    FD_ZERO(&writable);
    FD_SET(fd, &writable);
    STEP(select(fd + 1, NULL, &writable, NULL, NULL));
    say("%s", remote_name(fd));
}

SCENARIO(getpeername_after_epoll) {
    int fd = begun(), epfd = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLOUT};
    STEP(epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &event));
    STEP(epoll_wait(epfd, &event, 1, 5000));
    say("%s: %s", epoll_names(event.events), remote_name(fd));
}

SCENARIO(getpeername_after_a_blocking_wait_of_another) {
    int fd = begun();
    char data[8];
    peer("accept p l");
    peer("send p hi");
    SETTLED(fd, POLLIN, POLLIN);
    say("%s", remote_name(fd));
    STEP(read(fd, data, sizeof data));
}

SCENARIO(peer_name_as_an_option) {
    int fd = established();
    struct sockaddr_in name;
    socklen_t length = sizeof name;
    STEP(getsockopt(fd, SOL_SOCKET, 28 /* SO_PEERNAME */, &name, &length));
    say("%s", name_of(SA(name), length));
}

SCENARIO(getsockname_and_state) {
    int fd = established();
    say("%s", local_name(fd));
    say_state(fd);
}

SCENARIO(options) {
    int fd = established(), one = 1;
    STEP(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one));
    STEP(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one));
    peer("accept p l");
    STEP(write(fd, "x", 1));
    say("peer has %ld", peer("recv p 1"));
}

SCENARIO(shutdown_ends_one_direction) {
    int fd = established();
    char data[8];
    peer("accept p l");
    STEP(shutdown(fd, SHUT_WR));
    peer("gone p");
    say("peer: %s", peer_text);
    peer("send p still");
    SETTLED(fd, POLLIN, POLLIN);
    STEP(read(fd, data, sizeof data));
}

SCENARIO(shutdown_of_both_directions) {
    int fd = established();
    peer("accept p l");
    STEP(shutdown(fd, SHUT_RDWR));
    peer("gone p");
    say("peer: %s", peer_text);
}

SCENARIO(bytes_that_wait) {
    int fd = begun(), count = -1;
    peer("accept p l");
    peer("send p hello");
    SETTLED(fd, POLLIN, POLLIN);
    STEP(ioctl(fd, FIONREAD, &count));
    say("%d", count);
}

SCENARIO(close_that_resets) {
    int fd = established();
    struct linger now = {1, 0};
    peer("accept p l");
    STEP(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now));
    STEP(close(fd));
    peer("gone p");
    say("peer: %s", peer_text);
}

SCENARIO(reset_before_anybody_asked) {
    int fd = begun();
    peer("accept p l");
    peer("reset p");
    SETTLED(fd, POLLIN | POLLOUT | POLLRDHUP, POLLERR | POLLHUP);
    say("%s", remote_name(fd));
    say("pending: %s", pending(fd));
    say("pending: %s", pending(fd));
}

SCENARIO(refused_and_shut_down) {
    int fd = refused();
    say("%s", remote_name(fd));
    say_state(fd);
    STEP(shutdown(fd, SHUT_RDWR));
    say("pending: %s", pending(fd));
}
