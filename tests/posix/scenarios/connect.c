/* connect, and the names of both ends at each stage. */
#include "scenario.h"

#include <sys/socket.h>

static int pending(int fd) {
    int error = -1;
    socklen_t length = sizeof error;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
    return error;
}

SCENARIO(connect_blocking) {
    int fd = tcp();
    struct sockaddr_in to = peer_address(peer("listen l"));
    say("%s, %s", local_name(fd), remote_name(fd));
    STEP(connect(fd, IN(to)));
    say("%s, %s", local_name(fd), remote_name(fd));
    STEP(connect(fd, IN(to)));
    POLL(fd, POLLIN | POLLOUT | POLLRDHUP, 0);
}

SCENARIO(connect_errors) {
    int fd = tcp();
    struct sockaddr_in to = peer_address(9);
    STEP(connect(-1, IN(to)));
    STEP(connect(0, IN(to)));
    STEP(connect(fd, SA(to), 4));
    to.sin_family = AF_UNIX;
    STEP(connect(fd, IN(to)));
    int listening = listener(5);
    to.sin_family = AF_INET;
    STEP(connect(listening, IN(to)));
}

SCENARIO(connect_refused) {
    int fd = tcp();
    struct sockaddr_in to = peer_address(peer("unused"));
    STEP(connect(fd, IN(to)));
    say("%s, %s", local_name(fd), remote_name(fd));
    say("pending: %s", errno_name(pending(fd)));
    SETTLED(fd, POLLIN | POLLOUT | POLLRDHUP, POLLHUP);
    to = peer_address(peer("listen l"));
    STEP(connect(fd, IN(to)));
    say("%s", remote_name(fd));
}

SCENARIO(connect_nonblocking) {
    int fd = tcp();
    nonblocking(fd);
    struct sockaddr_in to = peer_address(peer("listen l"));
    STEP(connect(fd, IN(to)));
    SETTLED(fd, POLLIN | POLLOUT | POLLRDHUP, POLLOUT);
    say("pending: %d", pending(fd));
    say("%s, %s", local_name(fd), remote_name(fd));
    STEP(connect(fd, IN(to)));
}

SCENARIO(connect_nonblocking_asked_again) {
    int fd = tcp();
    nonblocking(fd);
    struct sockaddr_in to = peer_address(peer("listen l"));
    STEP(connect(fd, IN(to)));
    SETTLED(fd, POLLOUT, POLLOUT);
    STEP(connect(fd, IN(to)));
    STEP(connect(fd, IN(to)));
}

SCENARIO(connect_nonblocking_refused) {
    int fd = tcp();
    nonblocking(fd);
    struct sockaddr_in to = peer_address(peer("unused"));
    STEP(connect(fd, IN(to)));
    SETTLED(fd, POLLIN | POLLOUT | POLLRDHUP, POLLERR | POLLHUP);
    say("pending: %s", errno_name(pending(fd)));
    say("pending: %d", pending(fd));
    STEP(send(fd, "x", 1, MSG_NOSIGNAL));
    STEP(read(fd, &to, 1));
}

/* Nobody answers ARP for that address: the SYN stays unanswered. */
SCENARIO(connect_under_way) {
    int fd = tcp();
    char data[8];
    nonblocking(fd);
    struct sockaddr_in to = local_address("10.77.0.99", 9);
    STEP(connect(fd, IN(to)));
    STEP(connect(fd, IN(to)));
    POLL(fd, POLLIN | POLLOUT | POLLRDHUP, 0);
    say("%s, %s", local_name(fd), remote_name(fd));
    STEP(read(fd, data, sizeof data));
    STEP(send(fd, data, 1, MSG_NOSIGNAL));
    STEP(shutdown(fd, SHUT_RDWR));
}

SCENARIO(connect_times_out) {
    int fd = tcp();
    struct timeval timeout = {.tv_usec = 100000};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    struct sockaddr_in to = local_address("10.77.0.99", 9);
    STEP(connect(fd, IN(to)));
    STEP(connect(fd, IN(to)));
}

SCENARIO(connect_interrupted) {
    int fd = tcp();
    catch_signal(SIGALRM, 0);
    interrupt_after(100);
    struct sockaddr_in to = local_address("10.77.0.99", 9);
    STEP(connect(fd, IN(to)));
    say("caught %d", caught);
    nonblocking(fd);
    STEP(connect(fd, IN(to)));
}

SCENARIO(connect_bound) {
    int fd = tcp();
    struct sockaddr_in from = subject_address(0), to = peer_address(peer("listen l"));
    STEP(bind(fd, IN(from)));
    int port = port_of(fd);
    STEP(connect(fd, IN(to)));
    say("%s, the same port: %d", local_name(fd), port_of(fd) == port);
    peer("accept p l");
    STEP(write(fd, "x", 1));
    say("peer has %ld", peer("recv p 1"));
}

SCENARIO(connect_bound_to_the_wildcard) {
    int fd = tcp();
    struct sockaddr_in from = local_address("0.0.0.0", 0), to = peer_address(peer("listen l"));
    STEP(bind(fd, IN(from)));
    say("%s", local_name(fd));
    STEP(connect(fd, IN(to)));
    say("%s, %s", local_name(fd), remote_name(fd));
}

SCENARIO(connect_unspecified) {
    int fd = connected();
    struct sockaddr_in none = {.sin_family = AF_UNSPEC};
    STEP(connect(fd, IN(none)));
    say("%s", remote_name(fd));
    struct sockaddr_in to = peer_address(peer("listen m"));
    STEP(connect(fd, IN(to)));
}

SCENARIO(connect_unspecified_resets_the_peer) {
    int fd = connected();
    char data[8];
    struct sockaddr_in none = {.sin_family = AF_UNSPEC};
    peer("send p unread");
    SETTLED(fd, POLLIN, POLLIN);
    STEP(connect(fd, IN(none)));
    peer("gone p");
    say("peer: %s", peer_text);
    POLL(fd, POLLOUT, 0);
    struct sockaddr_in to = peer_address(peer("listen m"));
    STEP(connect(fd, IN(to)));
    peer("accept q m");
    peer("send q again");
    STEP(read(fd, data, 5));
    STEP(write(fd, "x", 1));
    say("peer has %ld", peer("recv q 1"));
}

SCENARIO(connect_after_shutdown_under_way) {
    int fd = tcp();
    nonblocking(fd);
    struct sockaddr_in to = local_address("10.77.0.99", 9);
    STEP(connect(fd, IN(to)));
    STEP(shutdown(fd, SHUT_WR));
    POLL(fd, POLLOUT, 0);
    say("pending: %s", errno_name(pending(fd)));
    POLL(fd, POLLOUT, 0);
    to = peer_address(peer("listen l"));
    STEP(connect(fd, IN(to)));
    SETTLED(fd, POLLOUT, POLLOUT);
    peer("accept p l");
    STEP(write(fd, "x", 1));
    say("peer has %ld", peer("recv p 1"));
}

SCENARIO(connect_to_loopback) {
    int listening = tcp(), fd = tcp();
    struct sockaddr_in any = local_address("127.0.0.1", 0);
    STEP(bind(listening, IN(any)));
    STEP(listen(listening, 5));
    struct sockaddr_in to = local_address("127.0.0.1", port_of(listening));
    STEP(connect(fd, IN(to)));
    int other = OPENS(accept(listening, NULL, NULL));
    STEP(write(fd, "ping", 4));
    char data[8];
    STEP(read(other, data, sizeof data));
    say("%s, %s", local_name(other), remote_name(other));
}

SCENARIO(connect_to_own_address) {
    int listening = listener(5), fd = tcp();
    struct sockaddr_in to = subject_address(port_of(listening));
    STEP(connect(fd, IN(to)));
    int other = OPENS(accept(listening, NULL, NULL));
    STEP(write(fd, "ping", 4));
    char data[8];
    STEP(read(other, data, sizeof data));
    STEP(write(other, "pong", 4));
    STEP(read(fd, data, sizeof data));
    say("%s, %s", local_name(other), remote_name(other));
    STEP(close(fd));
    STEP(read(other, data, sizeof data));
}

SCENARIO(connect_to_own_address_refused) {
    int fd = tcp();
    struct sockaddr_in to = subject_address(1);
    STEP(connect(fd, IN(to)));
}

SCENARIO(names_truncated) {
    int fd = connected();
    struct sockaddr_storage name;
    socklen_t length = 6;
    memset(&name, 0x55, sizeof name);
    STEP(getsockname(fd, SA(name), &length));
    say("%u, not beyond: %d", length, ((char *)&name)[6] == 0x55);
    length = 6;
    memset(&name, 0x55, sizeof name);
    STEP(getpeername(fd, SA(name), &length));
    say("%u, not beyond: %d", length, ((char *)&name)[6] == 0x55);
    length = 0;
    STEP(getpeername(fd, SA(name), &length));
    say("%u", length);
    length = (socklen_t)-1;
    STEP(getsockname(fd, SA(name), &length));
    length = (socklen_t)-1;
    STEP(getpeername(fd, SA(name), &length));
}

SCENARIO(names_after_the_end) {
    int fd = connected();
    char data[8];
    peer("close p");
    SETTLED(fd, POLLIN | POLLRDHUP, POLLRDHUP);
    STEP(read(fd, data, sizeof data));
    say("%s, %s", local_name(fd), remote_name(fd));
    STEP(shutdown(fd, SHUT_RDWR));
    SETTLED(fd, POLLIN | POLLOUT | POLLRDHUP, POLLHUP);
}

SCENARIO(names_after_a_reset) {
    int fd = connected();
    peer("reset p");
    SETTLED(fd, POLLIN | POLLOUT | POLLRDHUP, POLLHUP);
    say("%s, %s", local_name(fd), remote_name(fd));
    say("pending: %s", errno_name(pending(fd)));
}

SCENARIO(names_of_fresh_sockets) {
    int stream = tcp(), datagram = udp(), six = socket(AF_INET6, SOCK_STREAM, 0);
    say("%s, %s", local_name(stream), remote_name(stream));
    say("%s, %s", local_name(datagram), remote_name(datagram));
    say("%s, %s", local_name(six), remote_name(six));
    int listening = listener(5);
    say("%s, %s", local_name(listening), remote_name(listening));
}

SCENARIO(fresh_socket_is_not_connected) {
    int fd = tcp();
    char data[8];
    STEP(read(fd, data, sizeof data));
    STEP(send(fd, data, 1, MSG_NOSIGNAL));
    POLL(fd, POLLIN | POLLOUT | POLLRDHUP, 0);
    struct sockaddr_in any = subject_address(0);
    STEP(bind(fd, IN(any)));
    STEP(read(fd, data, sizeof data));
    STEP(send(fd, data, 1, MSG_NOSIGNAL));
    POLL(fd, POLLIN | POLLOUT | POLLRDHUP, 0);
}

/* More than a replica's ports were when each had a sixteenth of the range. */
SCENARIO(many_to_one_destination) {
    struct sockaddr_in to = peer_address(peer("listen l 4096"));
    int made = 0, error = 0;
    for (int i = 0; i < 4000 && !error; i++) {
        int fd = tcp();
        error = connect(fd, IN(to)) < 0 ? errno : 0;
        made += !error;
        close(fd);
    }
    say("%d connections, then %s", made, error ? errno_name(error) : "no more");
}
