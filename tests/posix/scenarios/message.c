/* sendmsg, recvmsg and their plurals. */
#include "scenario.h"

#include <time.h>

SCENARIO(sendmsg_and_recvmsg) {
    int fd = connected();
    char a[4] = "", b[4] = "";
    struct sockaddr_in from = {0};
    struct iovec out[] = {{"one", 3}, {"two", 3}}, in[] = {{a, 3}, {b, 3}};
    struct msghdr send = {.msg_iov = out, .msg_iovlen = 2};
    struct msghdr receive = {
        .msg_iov = in, .msg_iovlen = 2, .msg_name = &from, .msg_namelen = sizeof from, .msg_flags = 0x7fff};
    STEP(sendmsg(fd, &send, 0));
    peer("recv p 6");
    say("peer: %s", peer_text);
    peer("send p abcdef");
    STEP(recvmsg(fd, &receive, MSG_WAITALL));
    say("%s %s, name %u, flags %#x, control %zu", a, b, receive.msg_namelen, receive.msg_flags,
        receive.msg_controllen);
    STEP(recvmsg(fd, &receive, MSG_DONTWAIT));
}

SCENARIO(message_errors) {
    int fd = connected();
    struct msghdr message = {.msg_iov = NULL, .msg_iovlen = 0};
    STEP(sendmsg(-1, &message, 0));
    STEP(sendmsg(0, &message, 0));
    STEP(sendmsg(fd, &message, 0));
    STEP(recvmsg(fd, &message, MSG_DONTWAIT));
    struct iovec one = {"x", 1};
    message.msg_iov = &one;
    message.msg_iovlen = 1025;
    STEP(sendmsg(fd, &message, 0));
    message.msg_iovlen = 1;
    message.msg_name = &one;
    message.msg_namelen = (socklen_t)-1;
    STEP(sendmsg(fd, &message, 0));
}

SCENARIO(control_messages) {
    int fd = connected();
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    struct iovec one = {"x", 1};
    struct msghdr message = {.msg_iov = &one,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    struct cmsghdr *first = CMSG_FIRSTHDR(&message);
    *first = (struct cmsghdr){
        .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
    STEP(sendmsg(fd, &message, 0));
    first->cmsg_type = 0x77;
    STEP(sendmsg(fd, &message, 0));
    first->cmsg_len = 3;
    STEP(sendmsg(fd, &message, 0));
    message.msg_controllen = 4;
    STEP(sendmsg(fd, &message, 0));
}

static void say_control(struct msghdr *message) {
    char text[64];
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        struct in_pktinfo info = {0};
        struct in6_pktinfo info6 = {0};
        say("level %d type %d length %zu", c->cmsg_level, c->cmsg_type, c->cmsg_len);
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            memcpy(&info, CMSG_DATA(c), sizeof info);
            say("to %s", inet_ntoa(info.ipi_addr));
            say("from here %s", inet_ntoa(info.ipi_spec_dst));
        } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            memcpy(&info6, CMSG_DATA(c), sizeof info6);
            say("to %s", inet_ntop(AF_INET6, &info6.ipi6_addr, text, sizeof text));
        } else if (c->cmsg_level == IPPROTO_IP) {
            say("%u", *CMSG_DATA(c));
        } else {
            struct timespec at;
            memcpy(&at, CMSG_DATA(c), sizeof at);
            say("about now: %d", labs(at.tv_sec - time(NULL)) < 5);
        }
    }
}

static void receive_with_control(int fd, size_t room) {
    union {
        char bytes[256];
        struct cmsghdr align;
    } control = {0};
    char data[8];
    struct iovec one = {data, sizeof data};
    struct msghdr message = {
        .msg_iov = &one, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = room};
    STEP(recvmsg(fd, &message, 0));
    say("flags %#x, control %zu", message.msg_flags, message.msg_controllen);
    say_control(&message);
}

SCENARIO(control_of_datagrams) {
    int fd = udp_connected(), port = port_of(fd), one = 1;
    peer("sendto p %d a", port);
    receive_with_control(fd, 256);
    STEP(setsockopt(fd, IPPROTO_IP, IP_RECVTOS, &one, sizeof one));
    STEP(setsockopt(fd, IPPROTO_IP, IP_RECVTTL, &one, sizeof one));
    STEP(setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &one, sizeof one));
    STEP(setsockopt(fd, SOL_SOCKET, SO_TIMESTAMP, &one, sizeof one));
    peer("sendto p %d b", port);
    receive_with_control(fd, 256);
    STEP(setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one));
    for (size_t room = 0; room <= 128; room += 8) {
        peer("sendto p %d c", port);
        receive_with_control(fd, room);
    }
}

SCENARIO(control_of_mapped_datagrams) {
    int fd = socket(AF_INET6, SOCK_DGRAM, 0), one = 1;
    struct sockaddr_in6 any = {.sin6_family = AF_INET6};
    inet_pton(AF_INET6, "::ffff:10.77.0.2", &any.sin6_addr);
    STEP(setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &one, sizeof one));
    STEP(bind(fd, IN(any)));
    peer("udp p");
    peer("sendto p %d a", port_of(fd));
    receive_with_control(fd, 256);
}

SCENARIO(many_of_a_stream) {
    int fd = connected();
    char a[4], b[4];
    struct iovec out[] = {{"abc", 3}, {"de", 2}}, in[] = {{a, 4}, {b, 4}};
    struct mmsghdr send[] = {{.msg_hdr = {.msg_iov = &out[0], .msg_iovlen = 1}},
                             {.msg_hdr = {.msg_iov = &out[1], .msg_iovlen = 1}}};
    struct mmsghdr receive[] = {{.msg_hdr = {.msg_iov = &in[0], .msg_iovlen = 1}},
                                {.msg_hdr = {.msg_iov = &in[1], .msg_iovlen = 1}}};
    STEP(sendmmsg(fd, send, 2, 0));
    say("%u %u", send[0].msg_len, send[1].msg_len);
    peer("recv p 5");
    say("peer: %s", peer_text);
    peer("send p 123456");
    SETTLED(fd, POLLIN, POLLIN);
    STEP(recvmmsg(fd, receive, 2, MSG_DONTWAIT, NULL));
    say("%u %u", receive[0].msg_len, receive[1].msg_len);
    STEP(recvmmsg(fd, receive, 2, MSG_DONTWAIT, NULL));
    STEP(sendmmsg(fd, send, 0, 0));
    STEP(sendmmsg(-1, send, 1, 0));
}

SCENARIO(many_datagrams) {
    int fd = udp_connected(), port = port_of(fd);
    char data[4][8] = {""};
    struct iovec in[4], out[3] = {{"one", 3}, {"two", 3}, {"three", 5}};
    struct mmsghdr receive[4] = {0}, send[3] = {0};
    for (int i = 0; i < 4; i++) {
        in[i] = (struct iovec){data[i], 4};
        receive[i].msg_hdr = (struct msghdr){.msg_iov = &in[i], .msg_iovlen = 1};
    }
    for (int i = 0; i < 3; i++)
        send[i].msg_hdr = (struct msghdr){.msg_iov = &out[i], .msg_iovlen = 1};
    STEP(sendmmsg(fd, send, 3, 0));
    say("%u %u %u", send[0].msg_len, send[1].msg_len, send[2].msg_len);
    for (int i = 0; i < 3; i++) {
        peer("recvfrom p");
        say("peer: %s", peer_text);
    }
    peer("sendto p %d a", port);
    peer("sendto p %d bcdefgh", port);
    STEP(recvmmsg(fd, receive, 2, 0, NULL));
    say("%u %#x, %u %#x", receive[0].msg_len, receive[0].msg_hdr.msg_flags, receive[1].msg_len,
        receive[1].msg_hdr.msg_flags);
    struct timespec timeout = MSEC(50);
    struct timeval limit = {.tv_usec = 50000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    STEP(recvmmsg(fd, receive, 4, 0, &timeout));
    peer("sendto p %d c", port);
    STEP(recvmmsg(fd, receive, 4, MSG_WAITFORONE, NULL));
}
