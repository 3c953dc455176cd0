/* socket, bind, listen, accept. */
#include "scenario.h"

SCENARIO(socket_errors) {
    STEP(socket(AF_INET, 77, 0));
    STEP(socket(999, SOCK_STREAM, 0));
    STEP(socket(AF_INET, SOCK_STREAM, IPPROTO_UDP));
    STEP(socket(AF_INET, SOCK_DGRAM, IPPROTO_TCP));
    STEP(socket(AF_INET, SOCK_SEQPACKET, 0));
    OPENS(socket(AF_INET, SOCK_STREAM, IPPROTO_TCP));
    OPENS(socket(AF_INET, SOCK_DGRAM, IPPROTO_UDP));
    OPENS(socket(AF_INET6, SOCK_STREAM, 0));
    OPENS(socket(AF_UNIX, SOCK_STREAM, 0));
    int pair[2];
    STEP(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    STEP(socketpair(AF_INET, SOCK_STREAM, 0, pair));
}

SCENARIO(socket_flags) {
    int fd = OPENS(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    say("%d %d", !!(fcntl(fd, F_GETFL) & O_NONBLOCK), fcntl(fd, F_GETFD));
    fd = OPENS(socket(AF_INET, SOCK_STREAM, 0));
    say("%#x %d", fcntl(fd, F_GETFL), fcntl(fd, F_GETFD));
}

SCENARIO(low_numbers) {
    int first = tcp(), second = tcp();
    say("%d %d", first, second);
    struct sockaddr_in any = subject_address(0);
    STEP(bind(first, IN(any)));
    STEP(listen(first, 5));
    close(second);
    peer("connect p %d", port_of(first));
    say("%ld", STEP(accept(first, NULL, NULL)));
    say("%ld", STEP(open("/dev/null", O_RDONLY)));
    close(first);
    say("%ld", STEP(dup(0)));
}

SCENARIO(bind_errors) {
    int fd = tcp(), other = tcp();
    struct sockaddr_in any = subject_address(0), foreign = local_address("192.0.2.9", 0);
    STEP(bind(fd, SA(any), 4));
    STEP(bind(-1, IN(any)));
    STEP(bind(0, IN(any)));
    STEP(bind(fd, IN(foreign)));
    any.sin_family = AF_UNIX;
    STEP(bind(fd, IN(any)));
    any.sin_family = AF_INET;
    STEP(bind(fd, IN(any)));
    STEP(bind(fd, IN(any)));
    struct sockaddr_in same = subject_address(port_of(fd));
    STEP(bind(other, IN(same)));
    STEP(listen(fd, 5));
    STEP(bind(other, IN(same)));
    STEP(close(fd));
    STEP(bind(other, IN(same)));
}

SCENARIO(bind_unspecified_family) {
    int fd = tcp();
    struct sockaddr_in any = {.sin_family = AF_UNSPEC};
    STEP(bind(fd, IN(any)));
    say("%s", local_name(fd));
}

SCENARIO(bind_wildcard) {
    int fd = tcp();
    struct sockaddr_in any = local_address("0.0.0.0", 0);
    STEP(bind(fd, IN(any)));
    say("%s", local_name(fd));
    STEP(listen(fd, 5));
    int one = accept_one(fd, "p");
    say("%s, %s", local_name(one), remote_name(one));
}

SCENARIO(bind_wildcard_and_specific) {
    int fd = tcp(), other = tcp();
    struct sockaddr_in any = local_address("0.0.0.0", 0);
    STEP(bind(fd, IN(any)));
    STEP(listen(fd, 5));
    struct sockaddr_in same = subject_address(port_of(fd));
    STEP(bind(other, IN(same)));
}

SCENARIO(reuse_address) {
    int fd = tcp(), other = tcp(), one = 1;
    struct sockaddr_in any = subject_address(0);
    STEP(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one));
    STEP(setsockopt(other, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one));
    STEP(bind(fd, IN(any)));
    struct sockaddr_in same = subject_address(port_of(fd));
    STEP(bind(other, IN(same)));
    STEP(listen(fd, 5));
    STEP(listen(other, 5));
    close(other);
    STEP(bind(other = tcp(), IN(same)));
}

SCENARIO(reuse_address_after_server_closed) {
    int fd = tcp(), one = 1;
    struct sockaddr_in any = subject_address(0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    STEP(bind(fd, IN(any)));
    STEP(listen(fd, 5));
    struct sockaddr_in same = subject_address(port_of(fd));
    int conn = accept_one(fd, "p");
    close(conn);
    close(fd);
    peer("gone p");
    fd = tcp();
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    STEP(bind(fd, IN(same)));
    STEP(listen(fd, 5));
}

SCENARIO(bind_while_connections_fade) {
    int fd = listener(5), conn = accept_one(fd, "p");
    struct sockaddr_in same = subject_address(port_of(fd));
    close(conn);
    close(fd);
    peer("gone p");
    fd = tcp();
    STEP(bind(fd, IN(same)));
}

SCENARIO(reuse_port) {
    int fd = tcp(), other = tcp(), third = tcp(), one = 1;
    struct sockaddr_in any = subject_address(0);
    STEP(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one));
    STEP(setsockopt(other, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one));
    STEP(bind(fd, IN(any)));
    struct sockaddr_in same = subject_address(port_of(fd));
    STEP(bind(other, IN(same)));
    STEP(listen(fd, 32));
    STEP(listen(other, 32));
    STEP(bind(third, IN(same)));
    for (int i = 0; i < 24; i++)
        peer("connect p%d %d", i, port_of(fd));
    int at_first = 0, at_other = 0;
    for (nonblocking(fd), nonblocking(other); at_first + at_other < 24; ) {
        struct pollfd both[] = {{.fd = fd, .events = POLLIN}, {.fd = other, .events = POLLIN}};
        if (poll(both, 2, 3000) <= 0)
            break;
        at_first += accept(fd, NULL, NULL) >= 0;
        at_other += accept(other, NULL, NULL) >= 0;
    }
    say("%d in all, some at each: %d", at_first + at_other, at_first > 0 && at_other > 0);
}

SCENARIO(listen_errors) {
    int fd = tcp(), datagram = udp();
    STEP(listen(-1, 5));
    STEP(listen(0, 5));
    STEP(listen(datagram, 5));
    STEP(accept(fd, NULL, NULL));
    STEP(listen(fd, 5));
    say("%s", local_name(fd));
    STEP(listen(fd, 1));
    STEP(listen(fd, -1));
    int conn = connected();
    STEP(listen(conn, 5));
}

SCENARIO(listen_without_bind_accepts) {
    int fd = tcp();
    STEP(listen(fd, 5));
    int one = accept_one(fd, "p");
    peer("send p hello");
    char data[16];
    STEP(read(one, data, sizeof data));
}

SCENARIO(accept_errors) {
    struct sockaddr_in from;
    socklen_t length = sizeof from;
    int fd = listener(5);
    STEP(accept(-1, NULL, NULL));
    STEP(accept(0, NULL, NULL));
    STEP(accept4(fd, NULL, NULL, 0x40));
    STEP(accept(udp(), NULL, NULL));
    STEP(accept(connected(), NULL, NULL));
    nonblocking(fd);
    STEP(accept(fd, SA(from), &length));
    say("%u", length);
}

SCENARIO(accept_address) {
    struct sockaddr_in from = {0};
    struct sockaddr_storage big;
    socklen_t length = sizeof from;
    int fd = listener(5);
    int port = peer("connect_from p %d", port_of(fd));
    OPENS(accept(fd, SA(from), &length));
    say("%s, the peer's port: %d", name_of(SA(from), length), ntohs(from.sin_port) == port);
    peer("connect q %d", port_of(fd));
    length = 4;
    memset(&big, 0x55, sizeof big);
    OPENS(accept(fd, SA(big), &length));
    say("%u, not beyond: %d", length, ((char *)&big)[4] == 0x55);
    peer("connect r %d", port_of(fd));
    length = sizeof big;
    OPENS(accept(fd, SA(big), &length));
    say("%s", name_of(SA(big), length));
    peer("connect s %d", port_of(fd));
    length = (socklen_t)-1;
    STEP(accept(fd, SA(big), &length));
}

SCENARIO(accept_flags) {
    int fd = listener(5);
    nonblocking(fd);
    peer("connect p %d", port_of(fd));
    SETTLED(fd, POLLIN, POLLIN);
    int one = OPENS(accept(fd, NULL, NULL));
    say("%d %d", !!(fcntl(one, F_GETFL) & O_NONBLOCK), fcntl(one, F_GETFD));
    peer("connect q %d", port_of(fd));
    SETTLED(fd, POLLIN, POLLIN);
    one = OPENS(accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC));
    say("%d %d", !!(fcntl(one, F_GETFL) & O_NONBLOCK), fcntl(one, F_GETFD));
    POLL(fd, POLLIN, 0);
    STEP(accept(fd, NULL, NULL));
}

SCENARIO(accept_with_one_number_left) {
    int fd = listener(8), last = -1, copy;
    char data[8];
    for (int i = 0; i < 4; i++) {
        peer("connect p%d %d", i, port_of(fd));
        peer("send p%d hello", i);
    }
    while ((copy = dup(0)) >= 0)
        last = copy;
    STEP(accept(fd, NULL, NULL));
    close(last);
    for (int i = 0; i < 4; i++) {
        int one = OPENS(accept(fd, NULL, NULL));
        STEP(read(one, data, sizeof data));
        STEP(accept(fd, NULL, NULL));
        close(one);
    }
}

SCENARIO(accept_in_order) {
    int fd = listener(8);
    char name[2] = "";
    for (int i = 0; i < 3; i++) {
        peer("connect p%d %d", i, port_of(fd));
        peer("send p%d %d", i, i);
    }
    int seen = 0;
    for (int i = 0; i < 3; i++) {
        int one = accept(fd, NULL, NULL);
        if (read(one, name, 1) == 1)
            seen |= 1 << (name[0] - '0');
    }
    say("all there: %d", seen == 7);
}

SCENARIO(accept_what_is_reset_already) {
    int fd = listener(5);
    char data[8];
    peer("connect p %d", port_of(fd));
    peer("reset p");
    pause_ms(50);
    int one = OPENS(accept(fd, NULL, NULL));
    STEP(read(one, data, sizeof data));
    STEP(read(one, data, sizeof data));
}

SCENARIO(accept_what_is_over_already) {
    int fd = listener(5);
    char data[8];
    peer("connect p %d", port_of(fd));
    peer("send p last");
    peer("close p");
    pause_ms(50);
    int one = OPENS(accept(fd, NULL, NULL));
    SETTLED(one, POLLIN | POLLOUT | POLLRDHUP, POLLRDHUP);
    STEP(read(one, data, sizeof data));
    STEP(read(one, data, sizeof data));
}

SCENARIO(close_of_a_listener_resets_the_unaccepted) {
    int fd = listener(5);
    peer("connect p %d", port_of(fd));
    SETTLED(fd, POLLIN, POLLIN);
    STEP(close(fd));
    peer("gone p");
    say("peer: %s", peer_text);
}

SCENARIO(shutdown_of_a_listener) {
    int fd = listener(5);
    STEP(shutdown(fd, SHUT_WR));
    STEP(shutdown(fd, SHUT_RD));
    STEP(accept(fd, NULL, NULL));
    SETTLED(fd, POLLIN | POLLOUT, POLLHUP);
    say("connect to it: %ld", peer("connect p %d", port_of(fd)));
}

SCENARIO(listener_listens_again) {
    int fd = tcp();
    struct sockaddr_in any = subject_address(0);
    STEP(bind(fd, IN(any)));
    struct sockaddr_in same = subject_address(port_of(fd));
    STEP(listen(fd, 5));
    close(fd);
    fd = tcp();
    STEP(bind(fd, IN(same)));
    STEP(listen(fd, 5));
    STEP(shutdown(fd, SHUT_RDWR));
    say("the same port: %d", port_of(fd) == ntohs(same.sin_port));
    STEP(listen(fd, 5));
    accept_one(fd, "p");
}

/* Linux holds one more than the backlog says; NEaT so many in each replica. */
SCENARIO(backlog) {
    int fd = tcp();
    struct sockaddr_in any = subject_address(0);
    STEP(bind(fd, IN(any)));
    STEP(listen(fd, 2));
    for (int i = 0; i < 3; i++)
        peer("connect p%d %d", i, port_of(fd));
    for (int i = 0; i < 16; i++)
        peer("begin late%d %d", i, port_of(fd));
    pause_ms(100);
    int count = 0;
    for (nonblocking(fd); accept(fd, NULL, NULL) >= 0; )
        count++;
    say("a few at once: %d", count >= 3 && count <= 6);
    SETTLED(fd, POLLIN, POLLIN);
    OPENS(accept(fd, NULL, NULL));
}

/* Its last connection is in TIME-WAIT here: the SYN draws an ACK, that a RST, and the next SYN is refused. */
SCENARIO(refused_in_time_wait) {
    int fd = listener(5), port = port_of(fd);
    int own = (int)peer("connect_from p %d", port);
    int one = OPENS(accept(fd, NULL, NULL));
    STEP(close(one));
    peer("await p");
    say("peer: %s", peer_text);
    peer("close p");
    STEP(close(fd));
    pause_ms(50);
    say("again: %ld", peer("connect_again q %d %d", port, own));
}

/* It is opened anew when there is somebody who takes it. */
SCENARIO(opened_anew_in_time_wait) {
    int fd = listener(5), port = port_of(fd);
    int own = (int)peer("connect_from p %d", port);
    int one = OPENS(accept(fd, NULL, NULL));
    STEP(close(one));
    peer("await p");
    peer("close p");
    pause_ms(50);
    say("again: %ld", peer("connect_again q %d %d", port, own));
    one = OPENS(accept(fd, NULL, NULL));
    STEP(write(one, "hello", 5));
    peer("recv q 5");
    say("peer: %s", peer_text);
}
