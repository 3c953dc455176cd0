/* getsockopt and setsockopt. */
#include "scenario.h"

static void get(const char *name, int fd, int level, int option) {
    int value = -99;
    socklen_t length = sizeof value;
    if (getsockopt(fd, level, option, &value, &length) < 0)
        say("%s: %s", name, errno_name(errno));
    else
        say("%s: %d (%u)", name, value, length);
}

static void set(const char *name, int fd, int level, int option, int value) {
    int status = setsockopt(fd, level, option, &value, sizeof value);
    say("%s = %d: %s", name, value, status < 0 ? errno_name(errno) : "done");
}

#define GET(fd, level, option) get(#option, fd, level, option)
#define SET(fd, level, option, value) set(#option, fd, level, option, value), get(#option, fd, level, option)

static void kinds(int fd) {
    GET(fd, SOL_SOCKET, SO_TYPE);
    GET(fd, SOL_SOCKET, SO_DOMAIN);
    GET(fd, SOL_SOCKET, SO_PROTOCOL);
    GET(fd, SOL_SOCKET, SO_ACCEPTCONN);
    GET(fd, SOL_SOCKET, SO_ERROR);
    GET(fd, SOL_SOCKET, SO_REUSEADDR);
    GET(fd, SOL_SOCKET, SO_REUSEPORT);
    GET(fd, SOL_SOCKET, SO_KEEPALIVE);
    GET(fd, SOL_SOCKET, SO_BROADCAST);
    GET(fd, IPPROTO_IP, IP_TOS);
    GET(fd, IPPROTO_IP, IP_TTL);
}

SCENARIO(what_a_fresh_socket_says) {
    kinds(tcp());
}

SCENARIO(what_a_connection_says) {
    int fd = connected();
    kinds(fd);
    GET(fd, IPPROTO_TCP, TCP_NODELAY);
    GET(fd, IPPROTO_TCP, TCP_CORK);
    GET(fd, IPPROTO_TCP, TCP_KEEPIDLE);
    GET(fd, IPPROTO_TCP, TCP_KEEPINTVL);
    GET(fd, IPPROTO_TCP, TCP_KEEPCNT);
    GET(fd, IPPROTO_TCP, TCP_USER_TIMEOUT);
    GET(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT);
    GET(fd, IPPROTO_TCP, TCP_MAXSEG);
}

SCENARIO(what_a_listener_says) {
    kinds(listener(5));
}

SCENARIO(what_a_datagram_socket_says) {
    int fd = udp_connected();
    kinds(fd);
    GET(fd, IPPROTO_TCP, TCP_NODELAY);
}

static void setting(int fd) {
    SET(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    SET(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    SET(fd, SOL_SOCKET, SO_KEEPALIVE, 7);
    SET(fd, SOL_SOCKET, SO_RCVBUF, 50000);
    SET(fd, SOL_SOCKET, SO_SNDBUF, 50000);
    SET(fd, SOL_SOCKET, SO_RCVBUF, 0);
    SET(fd, SOL_SOCKET, SO_TYPE, 1);
    SET(fd, SOL_SOCKET, SO_ERROR, 1);
    SET(fd, IPPROTO_IP, IP_TOS, 0x10);
    SET(fd, IPPROTO_IP, IP_TTL, 33);
    SET(fd, IPPROTO_IP, IP_TTL, 0);
    SET(fd, IPPROTO_IP, IP_TTL, 256);
    SET(fd, IPPROTO_IP, IP_TTL, -1);
    SET(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    SET(fd, IPPROTO_TCP, TCP_CORK, 1);
    SET(fd, IPPROTO_TCP, TCP_CORK, 0);
    SET(fd, IPPROTO_TCP, TCP_KEEPIDLE, 77);
    SET(fd, IPPROTO_TCP, TCP_KEEPIDLE, 0);
    SET(fd, IPPROTO_TCP, TCP_KEEPIDLE, 40000);
    SET(fd, IPPROTO_TCP, TCP_KEEPINTVL, 7);
    SET(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
    SET(fd, IPPROTO_TCP, TCP_KEEPCNT, 128);
    SET(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 5000);
    SET(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, -1);
    SET(fd, IPPROTO_TCP, TCP_SYNCNT, 3);
    SET(fd, IPPROTO_TCP, TCP_SYNCNT, 0);
    SET(fd, IPPROTO_TCP, TCP_SYNCNT, 128);
    SET(fd, IPPROTO_TCP, TCP_SYNCNT, 127);
    SET(fd, 12345, 1, 1);
    SET(fd, SOL_SOCKET, 12345, 1);
    SET(fd, IPPROTO_TCP, 12345, 1);
    SET(fd, IPPROTO_IP, 12345, 1);
}

SCENARIO(set_on_a_fresh_socket) {
    setting(tcp());
}

SCENARIO(set_on_a_connection) {
    setting(connected());
}

SCENARIO(set_on_a_listener) {
    int fd = listener(5);
    setting(fd);
    SET(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, 0);
}

SCENARIO(kept_from_before_connect) {
    int fd = tcp();
    struct sockaddr_in to = peer_address(peer("listen l"));
    SET(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    SET(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    SET(fd, IPPROTO_TCP, TCP_KEEPIDLE, 99);
    SET(fd, IPPROTO_IP, IP_TOS, 0x10);
    SET(fd, SOL_SOCKET, SO_RCVBUF, 50000);
    SET(fd, IPPROTO_TCP, TCP_SYNCNT, 4);
    STEP(connect(fd, IN(to)));
    GET(fd, IPPROTO_TCP, TCP_SYNCNT);
    GET(fd, IPPROTO_TCP, TCP_NODELAY);
    GET(fd, SOL_SOCKET, SO_KEEPALIVE);
    GET(fd, IPPROTO_TCP, TCP_KEEPIDLE);
    GET(fd, IPPROTO_IP, IP_TOS);
    GET(fd, SOL_SOCKET, SO_RCVBUF);
}

SCENARIO(inherited_from_the_listener) {
    int fd = listener(5);
    SET(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    SET(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    SET(fd, IPPROTO_TCP, TCP_KEEPIDLE, 99);
    SET(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    SET(fd, IPPROTO_TCP, TCP_SYNCNT, 5);
    int one = accept_one(fd, "p");
    GET(one, IPPROTO_TCP, TCP_SYNCNT);
    GET(one, IPPROTO_TCP, TCP_NODELAY);
    GET(one, SOL_SOCKET, SO_KEEPALIVE);
    GET(one, IPPROTO_TCP, TCP_KEEPIDLE);
    GET(one, SOL_SOCKET, SO_REUSEADDR);
    GET(one, SOL_SOCKET, SO_ACCEPTCONN);
}

SCENARIO(lengths) {
    int fd = connected();
    union {
        int number;
        char bytes[16];
    } value;
    for (socklen_t asked = 0; asked <= 8; asked += 2) {
        socklen_t length = asked;
        memset(&value, 0x55, sizeof value);
        STEP(getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &length));
        say("asked %u: %u, not beyond: %d", asked, length, value.bytes[length] == 0x55);
        length = asked;
        memset(&value, 0x55, sizeof value);
        STEP(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, &length));
        say("asked %u: %u, not beyond: %d", asked, length, value.bytes[length] == 0x55);
    }
    socklen_t length = (socklen_t)-1;
    STEP(getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &length));
    value.number = 1;
    STEP(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &value, 2));
    STEP(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &value, 16));
    STEP(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, 2));
    STEP(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, 16));
    STEP(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, NULL, 4));
    STEP(setsockopt(fd, IPPROTO_IP, IP_TOS, &value, 1));
    STEP(setsockopt(fd, SOL_SOCKET, SO_LINGER, &value, 4));
    STEP(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &value, 4));
    STEP(getsockopt(-1, SOL_SOCKET, SO_TYPE, &value, &length));
    STEP(getsockopt(0, SOL_SOCKET, SO_TYPE, &value, &length));
    STEP(setsockopt(0, SOL_SOCKET, SO_KEEPALIVE, &value, 4));
}

SCENARIO(linger_values) {
    int fd = connected();
    struct linger linger = {9, 9};
    socklen_t length = sizeof linger;
    STEP(getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &length));
    say("%d %d (%u)", linger.l_onoff, linger.l_linger, length);
    linger = (struct linger){1, 5};
    STEP(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
    linger = (struct linger){0};
    STEP(getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &length));
    say("%d %d", linger.l_onoff, linger.l_linger);
    linger = (struct linger){0, 7};
    STEP(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
    STEP(getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &length));
    say("%d", linger.l_onoff);
}

SCENARIO(time_limits) {
    int fd = connected();
    struct timeval limit = {.tv_usec = 1000000}, seen;
    socklen_t length = sizeof seen;
    STEP(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    limit.tv_usec = -1;
    STEP(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    limit = (struct timeval){.tv_sec = 2};
    STEP(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    STEP(getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &seen, &length));
    say("%ld %ld (%u)", (long)seen.tv_sec, (long)seen.tv_usec, length);
    limit = (struct timeval){0};
    STEP(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    STEP(getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &seen, &length));
    say("%ld %ld", (long)seen.tv_sec, (long)seen.tv_usec);
}

SCENARIO(pending_error_is_taken_once) {
    int fd = connected();
    peer("reset p");
    SETTLED(fd, POLLIN, POLLHUP);
    GET(fd, SOL_SOCKET, SO_ERROR);
    GET(fd, SOL_SOCKET, SO_ERROR);
    char data[8];
    STEP(read(fd, data, sizeof data));
    STEP(send(fd, data, 1, MSG_NOSIGNAL));
}

SCENARIO(info) {
    int fd = connected();
    struct tcp_info info = {0};
    socklen_t length = sizeof info;
    STEP(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length));
    say("state %d, rtt %d, mss %d, window %d", info.tcpi_state, info.tcpi_rtt > 0, info.tcpi_snd_mss > 500,
        info.tcpi_snd_cwnd > 0);
    length = 1;
    STEP(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length));
    say("%u", length);
    peer("close p");
    SETTLED(fd, POLLRDHUP, POLLRDHUP);
    length = sizeof info;
    STEP(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length));
    say("state %d", info.tcpi_state);
    fd = listener(5);
    STEP(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length));
    say("state %d", info.tcpi_state);
}

SCENARIO(segments_are_as_short_as_was_wished) {
    static const int wishes[] = {1000, 536, 88, 32767};
    struct sockaddr_in to = peer_address(peer("listen l"));
    for (size_t i = 0; i < sizeof wishes / sizeof *wishes; i++) {
        int fd = tcp();
        SET(fd, IPPROTO_TCP, TCP_MAXSEG, wishes[i]);
        STEP(connect(fd, IN(to)));
        GET(fd, IPPROTO_TCP, TCP_MAXSEG);
        peer("accept p l");
        say("the peer's: %ld", peer("maxseg p"));
    }
}

SCENARIO(nodelay_ends_a_cork_once) {
    int fd = connected(), on = 1;
    STEP(setsockopt(fd, IPPROTO_TCP, TCP_CORK, &on, sizeof on));
    STEP(write(fd, "one", 3));
    STEP(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
    GET(fd, IPPROTO_TCP, TCP_CORK);
    peer("recv p 3");
    say("peer: %s", peer_text);
    STEP(write(fd, "two", 3));
    STEP(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
    peer("recv p 3");
    say("peer: %s", peer_text);
}

SCENARIO(cork_holds_back) {
    int fd = connected(), on = 1, off = 0;
    STEP(setsockopt(fd, IPPROTO_TCP, TCP_CORK, &on, sizeof on));
    STEP(write(fd, "one", 3));
    STEP(write(fd, "two", 3));
    STEP(setsockopt(fd, IPPROTO_TCP, TCP_CORK, &off, sizeof off));
    peer("recv p 6");
    say("peer: %s", peer_text);
}

SCENARIO(defer_accept) {
    int fd = listener(5), seconds = 5;
    STEP(setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof seconds));
    peer("connect p %d", port_of(fd));
    POLL(fd, POLLIN, 100);
    peer("send p x");
    POLL(fd, POLLIN, 5000);
    int one = OPENS(accept(fd, NULL, NULL));
    char data[8];
    STEP(read(one, data, sizeof data));
}

static void bytes_left(int fd, size_t room, int flags) {
    char data[16], control[64];
    struct iovec part = {data, room};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    STEP(recvmsg(fd, &message, flags));
    say("control %zu, flags %#x", (size_t)message.msg_controllen, message.msg_flags);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
        int left = -1;
        if (c->cmsg_level == IPPROTO_TCP)
            memcpy(&left, CMSG_DATA(c), sizeof left);
        say("level %d type %d length %zu: %d", c->cmsg_level, c->cmsg_type, (size_t)c->cmsg_len, left);
    }
}

/* TCP_INQ (36) is set before connect(). */
SCENARIO(what_is_left_after_recvmsg) {
    int fd = tcp(), one = 1;
    struct sockaddr_in to = peer_address(peer("listen l"));
    STEP(setsockopt(fd, IPPROTO_TCP, 36, &one, sizeof one));
    STEP(connect(fd, IN(to)));
    peer("accept p l");
    peer("send p abcdefgh");
    while (recv(fd, &to, 8, MSG_PEEK) < 8)
        pause_ms(1);
    bytes_left(fd, 3, MSG_PEEK);
    bytes_left(fd, 3, 0);
    bytes_left(fd, 5, 0);
    peer("send p i");
    peer("close p");
    SETTLED(fd, POLLIN | POLLRDHUP, POLLRDHUP);
    bytes_left(fd, 0, 0);
    bytes_left(fd, 1, 0);
    bytes_left(fd, 1, 0);
}

/* Linux begins to stamp what arrives some time after the first socket has asked for it. */
static void await_stamps(int fd) {
    char byte, control[64];
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control};
    for (int i = 0; i < 1000 && !message.msg_controllen; i++) {
        peer("send p x");
        message.msg_controllen = sizeof control;
        if (recvmsg(fd, &message, 0) != 1)
            give_up("recvmsg");
    }
}

SCENARIO(times_of_a_stream) {
    int fd = tcp(), one = 1, zero = 0;
    struct sockaddr_in to = peer_address(peer("listen l"));
    STEP(setsockopt(fd, SOL_SOCKET, SO_TIMESTAMP, &one, sizeof one));
    STEP(connect(fd, IN(to)));
    peer("accept p l");
    await_stamps(fd);
    peer("send p abc");
    bytes_left(fd, 1, 0);
    STEP(setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one));
    STEP(setsockopt(fd, IPPROTO_TCP, 36, &one, sizeof one));
    bytes_left(fd, 1, 0);
    STEP(setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &zero, sizeof zero));
    bytes_left(fd, 1, 0);
    peer("close p");
    bytes_left(fd, 1, 0);
}

SCENARIO(inherited_control_messages) {
    int fd = listener(5), one = 1;
    STEP(setsockopt(fd, IPPROTO_TCP, 36, &one, sizeof one));
    int connection = accept_one(fd, "p");
    peer("send p abc");
    GET(connection, IPPROTO_TCP, 36);
    SETTLED(connection, POLLIN, POLLIN);
    bytes_left(connection, 3, 0);
}

SCENARIO(names_of_congestion_control_and_devices) {
    int fd = connected();
    STEP(setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "nonesuch", 8));
    STEP(setsockopt(fd, IPPROTO_TCP, TCP_ULP, "nonesuch", 8));
    STEP(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "nonesuch", 8));
}
