/* AF_INET6 sockets: IPv4 in mapped addresses (RFC 4291 §2.5.5.2), and everything else. */
#include "scenario.h"

static struct sockaddr_in6 six(const char *host, int port) {
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    inet_pton(AF_INET6, host, &address.sin6_addr);
    return address;
}

SCENARIO(dual_stack_listener) {
    int fd = socket(AF_INET6, SOCK_STREAM, 0), value = -1;
    struct sockaddr_in6 any = six("::", 0), from;
    socklen_t length = sizeof value;
    STEP(getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &value, &length));
    say("%d", value);
    STEP(bind(fd, IN(any)));
    STEP(listen(fd, 5));
    say("%s", local_name(fd));
    peer("connect p %d", port_of(fd));
    length = sizeof from;
    int one = OPENS(accept(fd, SA(from), &length));
    say("%s", name_of(SA(from), length));
    say("%s, %s", local_name(one), remote_name(one));
    STEP(write(one, "six", 3));
    peer("recv p 3");
    say("peer: %s", peer_text);
    length = sizeof value;
    STEP(getsockopt(one, SOL_SOCKET, SO_DOMAIN, &value, &length));
    say("%d", value == AF_INET6);
}

SCENARIO(mapped_listener) {
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 mapped = six("::ffff:10.77.0.2", 0);
    STEP(bind(fd, IN(mapped)));
    say("%s", local_name(fd));
    STEP(listen(fd, 5));
    int one = accept_one(fd, "p");
    say("%s, %s", local_name(one), remote_name(one));
}

SCENARIO(only_six_leaves_four_alone) {
    int fd = socket(AF_INET6, SOCK_STREAM, 0), four = tcp(), on = 1;
    struct sockaddr_in6 any = six("::", 0);
    STEP(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on));
    STEP(bind(fd, IN(any)));
    STEP(listen(fd, 5));
    say("connect to it: %ld", peer("connect p %d", port_of(fd)));
    struct sockaddr_in same = local_address("0.0.0.0", port_of(fd));
    STEP(bind(four, IN(same)));
    STEP(listen(four, 5));
    accept_one(four, "q");
    STEP(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on));
}

SCENARIO(connect_mapped) {
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    char host[64];
    snprintf(host, sizeof host, "::ffff:10.77.0.1");
    struct sockaddr_in6 to = six(host, peer("listen l"));
    STEP(connect(fd, IN(to)));
    say("%s, %s", local_name(fd), remote_name(fd));
    peer("accept p l");
    STEP(write(fd, "mapped", 6));
    peer("recv p 6");
    say("peer: %s", peer_text);
    peer("send p back");
    char data[8];
    STEP(read(fd, data, sizeof data));
}

SCENARIO(connect_four_on_six) {
    int fd = socket(AF_INET6, SOCK_STREAM, 0), four = tcp();
    struct sockaddr_in to = peer_address(peer("listen l"));
    struct sockaddr_in6 to_six = six("::ffff:10.77.0.1", ntohs(to.sin_port));
    STEP(connect(fd, IN(to)));
    STEP(connect(four, IN(to_six)));
    STEP(connect(fd, SA(to_six), sizeof to));
}

SCENARIO(connect_six_nowhere) {
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 to = six("2001:db8::1", 9);
    STEP(connect(fd, IN(to)));
}

SCENARIO(loopback_six) {
    int fd = socket(AF_INET6, SOCK_STREAM, 0), other = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 any = six("::1", 0);
    STEP(bind(fd, IN(any)));
    STEP(listen(fd, 5));
    any.sin6_port = htons(port_of(fd));
    STEP(connect(other, IN(any)));
    int one = OPENS(accept(fd, NULL, NULL));
    say("%s, %s", local_name(one), remote_name(one));
}

SCENARIO(options_of_six) {
    int fd = socket(AF_INET6, SOCK_STREAM, 0), value = -1, on = 1;
    socklen_t length = sizeof value;
    struct sockaddr_in6 any = six("::", 0);
    STEP(bind(fd, IN(any)));
    STEP(listen(fd, 5));
    STEP(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on));
    STEP(getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &value, &length));
    say("%d", value);
    STEP(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
    STEP(setsockopt(fd, IPPROTO_IPV6, IPV6_TCLASS, &on, sizeof on));
}

SCENARIO(datagrams_over_six) {
    int fd = socket(AF_INET6, SOCK_DGRAM, 0);
    struct sockaddr_in6 any = six("::", 0), from = {0};
    socklen_t length = sizeof from;
    STEP(bind(fd, IN(any)));
    peer("udp p");
    peer("sendto p %d hello", port_of(fd));
    char data[8];
    STEP(recvfrom(fd, data, sizeof data, 0, SA(from), &length));
    say("%s", name_of(SA(from), length));
    STEP(sendto(fd, "answer", 6, 0, IN(from)));
    peer("recvfrom p");
    say("peer: %s", peer_text);
}
