/* epoll: what one socket says, level- and edge-triggered, and once. */
#include <sys/ioctl.h>

#include "events.h"

SCENARIO(level_triggered) {
    int fd = connected(), ep = epoll_create1(EPOLL_CLOEXEC);
    char data[8];
    STEP(add(ep, fd, EPOLLIN, 1));
    wait_for(ep, 0);
    wait_for(ep, 20);
    peer("send p abcd");
    wait_for(ep, 5000);
    wait_for(ep, 0);
    STEP(read(fd, data, 2));
    wait_for(ep, 0);
    STEP(read(fd, data, 8));
    wait_for(ep, 20);
    STEP(change(ep, fd, EPOLLIN | EPOLLOUT, 2));
    wait_for(ep, 5000);
    peer("send p x");
    SETTLED(fd, POLLIN, POLLIN);
    wait_for(ep, 5000);
}

SCENARIO(edge_triggered) {
    int fd = connected(), ep = epoll_create1(0);
    char data[8];
    STEP(add(ep, fd, EPOLLIN | EPOLLET, 1));
    wait_for(ep, 20);
    peer("send p abcd");
    wait_for(ep, 5000);
    wait_for(ep, 50);
    STEP(read(fd, data, 8));
    STEP(recv(fd, data, 8, MSG_DONTWAIT));
    wait_for(ep, 20);
    peer("send p ef");
    wait_for(ep, 5000);
    wait_for(ep, 50);
    STEP(read(fd, data, 8));
    peer("shut p w");
    wait_for(ep, 5000);
    wait_for(ep, 50);
}

SCENARIO(edge_for_each_arrival) {
    int fd = connected(), ep = epoll_create1(0);
    STEP(add(ep, fd, EPOLLIN | EPOLLET, 1));
    peer("send p ab");
    wait_for(ep, 5000);
    wait_for(ep, 20);
    peer("send p cd");
    wait_for(ep, 500);
    wait_for(ep, 20);
    char data[1];
    STEP(read(fd, data, 1));
    wait_for(ep, 20);
}

SCENARIO(edge_of_bytes_is_none_of_room) {
    int fd = connected(), ep = epoll_create1(0), held = 0;
    STEP(add(ep, fd, EPOLLOUT | EPOLLET, 1));
    wait_for(ep, 5000);
    peer("send p x");
    while (ioctl(fd, FIONREAD, &held) == 0 && !held)
        pause_ms(5);
    wait_for(ep, 50);
    STEP(change(ep, fd, EPOLLIN | EPOLLOUT | EPOLLET, 1));
    wait_for(ep, 5000);
}

SCENARIO(edge_both_ways_at_add) {
    int fd = connected(), ep = epoll_create1(0);
    peer("send p ab");
    SETTLED(fd, POLLIN, POLLIN);
    STEP(add(ep, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, 1));
    wait_for(ep, 5000);
    wait_for(ep, 20);
    STEP(change(ep, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, 2));
    wait_for(ep, 5000);
    wait_for(ep, 20);
}

SCENARIO(edge_of_room) {
    int fd = connected(), ep = epoll_create1(0);
    static char data[65536];
    nonblocking(fd);
    STEP(add(ep, fd, EPOLLOUT | EPOLLET, 1));
    wait_for(ep, 5000);
    wait_for(ep, 20);
    long total = 0, n;
    struct pollfd room = {.fd = fd, .events = POLLOUT};
    do
        while ((n = write(fd, data, sizeof data)) > 0)
            total += n;
    while (poll(&room, 1, 100) > 0);
    struct epoll_event event;
    epoll_wait(ep, &event, 1, 0);
    say("full: %s", errno_name(errno));
    wait_for(ep, 50);
    peer("take p %ld", total);
    wait_for(ep, 5000);
    say("%d", write(fd, data, 1) == 1);
}

SCENARIO(once) {
    int fd = connected(), ep = epoll_create1(0);
    STEP(add(ep, fd, EPOLLIN | EPOLLONESHOT, 1));
    peer("send p ab");
    wait_for(ep, 5000);
    wait_for(ep, 20);
    peer("send p cd");
    wait_for(ep, 20);
    STEP(change(ep, fd, EPOLLIN | EPOLLONESHOT, 2));
    wait_for(ep, 5000);
    wait_for(ep, 20);
    STEP(change(ep, fd, EPOLLOUT | EPOLLONESHOT | EPOLLET, 3));
    wait_for(ep, 5000);
    peer("reset p");
    wait_for(ep, 50);
}

SCENARIO(hang_up_events) {
    int fd = connected(), ep = epoll_create1(0);
    char data[8];
    STEP(add(ep, fd, EPOLLIN | EPOLLRDHUP, 1));
    peer("send p ab");
    peer("shut p w");
    SETTLED(fd, POLLIN | POLLRDHUP, POLLRDHUP);
    wait_for(ep, 5000);
    STEP(read(fd, data, 8));
    STEP(read(fd, data, 8));
    wait_for(ep, 5000);
    STEP(shutdown(fd, SHUT_WR));
    SETTLED(fd, POLLIN | POLLRDHUP, POLLHUP);
    wait_for(ep, 5000);
}

SCENARIO(reset_events) {
    int fd = connected(), ep = epoll_create1(0);
    STEP(add(ep, fd, EPOLLIN, 1));
    peer("reset p");
    wait_for(ep, 5000);
    wait_for(ep, 0);
    char data[8];
    STEP(read(fd, data, 8));
    wait_for(ep, 0);
    STEP(change(ep, fd, 0, 2));
    wait_for(ep, 0);
}

SCENARIO(own_shutdown_events) {
    int fd = connected(), ep = epoll_create1(0);
    STEP(add(ep, fd, EPOLLIN | EPOLLRDHUP, 1));
    wait_for(ep, 0);
    STEP(shutdown(fd, SHUT_RD));
    wait_for(ep, 500);
    STEP(shutdown(fd, SHUT_WR));
    wait_for(ep, 500);
}

SCENARIO(connect_events) {
    int fd = tcp(), ep = epoll_create1(0);
    nonblocking(fd);
    STEP(add(ep, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, 1));
    wait_for(ep, 0);
    struct sockaddr_in to = peer_address(peer("listen l"));
    STEP(connect(fd, IN(to)));
    wait_for(ep, 5000);
    wait_for(ep, 20);
    peer("accept p l");
    peer("send p x");
    wait_for(ep, 5000);
}

SCENARIO(connect_refused_events) {
    int fd = tcp(), ep = epoll_create1(0);
    nonblocking(fd);
    struct sockaddr_in to = peer_address(peer("unused"));
    STEP(connect(fd, IN(to)));
    STEP(add(ep, fd, EPOLLIN | EPOLLOUT, 1));
    SETTLED(fd, POLLIN | POLLOUT, POLLHUP);
    wait_for(ep, 5000);
    int error = 0;
    socklen_t length = sizeof error;
    STEP(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length));
    say("%s", errno_name(error));
}

/* As event loops do it: wait, then ask. */
SCENARIO(connect_refused_then_asked) {
    int fd = tcp(), ep = epoll_create1(0);
    nonblocking(fd);
    struct sockaddr_in to = peer_address(peer("unused"));
    STEP(connect(fd, IN(to)));
    pause_ms(50);
    STEP(add(ep, fd, EPOLLOUT | EPOLLET, 1));
    wait_for(ep, 5000);
    int error = 0;
    socklen_t length = sizeof error;
    STEP(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length));
    say("%s", errno_name(error));
    STEP(close(fd));
    wait_for(ep, 20);
}

SCENARIO(listener_events) {
    int fd = tcp(), ep = epoll_create1(0);
    struct sockaddr_in any = subject_address(0);
    STEP(add(ep, fd, EPOLLIN, 1));
    STEP(bind(fd, IN(any)));
    STEP(listen(fd, 5));
    wait_for(ep, 20);
    peer("connect p %d", port_of(fd));
    wait_for(ep, 5000);
    peer("connect q %d", port_of(fd));
    OPENS(accept(fd, NULL, NULL));
    wait_for(ep, 5000);
    OPENS(accept(fd, NULL, NULL));
    wait_for(ep, 20);
}

SCENARIO(edge_triggered_listener) {
    int fd = listener(5), ep = epoll_create1(0);
    STEP(add(ep, fd, EPOLLIN | EPOLLET, 1));
    peer("connect p %d", port_of(fd));
    wait_for(ep, 5000);
    wait_for(ep, 20);
    OPENS(accept(fd, NULL, NULL));
    peer("connect q %d", port_of(fd));
    wait_for(ep, 5000);
    OPENS(accept(fd, NULL, NULL));
}

SCENARIO(datagram_events) {
    int fd = udp(), ep = epoll_create1(0);
    struct sockaddr_in any = subject_address(0);
    STEP(bind(fd, IN(any)));
    STEP(add(ep, fd, EPOLLIN | EPOLLET, 1));
    wait_for(ep, 20);
    peer("udp p");
    peer("sendto p %d one", port_of(fd));
    wait_for(ep, 5000);
    char data[8];
    STEP(recv(fd, data, 8, 0));
    wait_for(ep, 20);
    peer("sendto p %d two", port_of(fd));
    wait_for(ep, 5000);
    STEP(change(ep, fd, EPOLLIN | EPOLLOUT, 2));
    wait_for(ep, 5000);
}

SCENARIO(reset_after_the_end) {
    int fd = connected(), ep = epoll_create1(0);
    char data[8];
    STEP(add(ep, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, 1));
    wait_for(ep, 1000);
    peer("shut p w");
    wait_for(ep, 5000);
    STEP(read(fd, data, sizeof data));
    peer("reset p");
    wait_for(ep, 5000);
    wait_for(ep, 20);
    STEP(send(fd, data, 1, MSG_NOSIGNAL));
    STEP(send(fd, data, 1, MSG_NOSIGNAL));
}
