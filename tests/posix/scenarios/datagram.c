/* UDP. */
#include "scenario.h"

#include <sys/ioctl.h>

static int bound(void) {
    int fd = udp();
    struct sockaddr_in any = subject_address(0);
    if (bind(fd, IN(any)) < 0)
        give_up("bind");
    return fd;
}

SCENARIO(receive_and_answer) {
    int fd = bound();
    int port = peer("udp p");
    struct sockaddr_in from = {0};
    socklen_t length = sizeof from;
    char data[32];
    peer("sendto p %d hello", port_of(fd));
    long n = STEP(recvfrom(fd, data, sizeof data, 0, SA(from), &length));
    say("%s from %s, that port: %d", bytes(data, n), name_of(SA(from), length), ntohs(from.sin_port) == port);
    STEP(sendto(fd, "answer", 6, 0, IN(from)));
    peer("recvfrom p");
    say("peer: %s", peer_text);
    say("%s, %s", local_name(fd), remote_name(fd));
}

SCENARIO(wildcard) {
    int fd = udp();
    struct sockaddr_in any = local_address("0.0.0.0", 0), from = {0};
    socklen_t length = sizeof from;
    char data[8];
    STEP(bind(fd, IN(any)));
    peer("udp p");
    peer("sendto p %d hello", port_of(fd));
    STEP(recvfrom(fd, data, sizeof data, 0, SA(from), &length));
    STEP(sendto(fd, "answer", 6, 0, IN(from)));
    peer("recvfrom p");
    say("peer: %s", peer_text);
    say("%s", local_name(fd));
}

SCENARIO(send_without_bind) {
    int fd = udp();
    struct sockaddr_in to = peer_address(peer("udp p"));
    STEP(sendto(fd, "first", 5, 0, IN(to)));
    peer("recvfrom p");
    say("peer: %s", peer_text);
    say("%s, %s", local_name(fd), remote_name(fd));
    STEP(sendto(fd, "second", 6, 0, IN(to)));
    peer("recvfrom p");
    peer("sendto p %d answer", port_of(fd));
    char data[8];
    STEP(recv(fd, data, sizeof data, 0));
}

SCENARIO(unconnected_errors) {
    int fd = udp();
    struct sockaddr_in to = peer_address(0);
    char data[8];
    STEP(send(fd, "x", 1, 0));
    STEP(write(fd, "x", 1));
    STEP(sendto(fd, "x", 1, 0, IN(to)));
    STEP(sendto(fd, "x", 1, 0, SA(to), 4));
    to.sin_family = AF_UNIX;
    STEP(sendto(fd, "x", 1, 0, IN(to)));
    STEP(recv(fd, data, sizeof data, MSG_DONTWAIT));
    STEP(shutdown(fd, SHUT_WR));
    STEP(recv(fd, data, sizeof data, MSG_OOB | MSG_DONTWAIT));
    STEP(recv(fd, data, sizeof data, MSG_ERRQUEUE | MSG_DONTWAIT));
    STEP(accept(fd, NULL, NULL));
}

SCENARIO(connected_pair) {
    int fd = udp_connected();
    char data[16];
    say("%s, %s", local_name(fd), remote_name(fd));
    STEP(write(fd, "hello", 5));
    peer("recvfrom p");
    say("peer: %s", peer_text);
    peer("sendto p %d answer", port_of(fd));
    STEP(read(fd, data, sizeof data));
    struct sockaddr_in elsewhere = peer_address(peer("udp q"));
    STEP(sendto(fd, "other", 5, 0, IN(elsewhere)));
    peer("recvfrom q");
    say("peer: %s", peer_text);
    peer("sendto q %d stranger", port_of(fd));
    POLL(fd, POLLIN, 100);
}

SCENARIO(connected_anew_and_not_at_all) {
    int fd = udp_connected();
    struct sockaddr_in other = peer_address(peer("udp q")), none = {.sin_family = AF_UNSPEC};
    STEP(connect(fd, IN(other)));
    STEP(write(fd, "hello", 5));
    peer("recvfrom q");
    say("peer: %s", peer_text);
    STEP(connect(fd, IN(none)));
    say("%s", remote_name(fd));
    STEP(write(fd, "x", 1));
}

SCENARIO(truncated) {
    int fd = bound();
    char data[4];
    peer("udp p");
    struct iovec one = {data, 4};
    struct msghdr message = {.msg_iov = &one, .msg_iovlen = 1};
    for (int i = 0; i < 5; i++)
        peer("sendto p %d 123456789", port_of(fd));
    pause_ms(100);
    STEP(recv(fd, data, 4, 0));
    STEP(recv(fd, data, 4, MSG_TRUNC));
    STEP(recv(fd, data, 4, MSG_PEEK | MSG_TRUNC));
    STEP(recvmsg(fd, &message, 0));
    say("%#x", message.msg_flags);
    STEP(recvmsg(fd, &message, MSG_TRUNC | MSG_PEEK));
    say("%#x", message.msg_flags);
    STEP(read(fd, data, 4));
    STEP(recv(fd, data, 0, MSG_DONTWAIT));
    STEP(recv(fd, data, 4, MSG_DONTWAIT));
}

SCENARIO(empty_ones) {
    int fd = udp_connected(), n = -1;
    char data[8];
    STEP(write(fd, "", 0));
    STEP(send(fd, "", 0, 0));
    peer("recvfrom p");
    say("peer: %s", peer_text);
    peer("sendto p %d ", port_of(fd));
    SETTLED(fd, POLLIN, POLLIN);
    STEP(ioctl(fd, FIONREAD, &n));
    say("%d", n);
    STEP(recv(fd, data, sizeof data, 0));
    POLL(fd, POLLIN, 0);
}

SCENARIO(peek_and_next_length) {
    int fd = bound(), n = -1;
    char data[8];
    STEP(ioctl(fd, FIONREAD, &n));
    say("%d", n);
    peer("udp p");
    peer("sendto p %d one", port_of(fd));
    peer("sendto p %d three", port_of(fd));
    pause_ms(100);
    STEP(recv(fd, data, sizeof data, MSG_PEEK));
    STEP(ioctl(fd, FIONREAD, &n));
    say("%d", n);
    STEP(recv(fd, data, sizeof data, MSG_WAITALL));
    STEP(recv(fd, data, sizeof data, 0));
    say("%s", bytes(data, 5));
}

SCENARIO(refused) {
    int fd = udp();
    char data[8];
    struct sockaddr_in to = peer_address(9);
    STEP(connect(fd, IN(to)));
    STEP(write(fd, "x", 1));
    SETTLED(fd, POLLIN | POLLOUT, POLLERR);
    STEP(recv(fd, data, sizeof data, MSG_DONTWAIT));
    STEP(recv(fd, data, sizeof data, MSG_DONTWAIT));
    STEP(write(fd, "x", 1));
    SETTLED(fd, POLLERR, POLLERR);
    STEP(write(fd, "x", 1));
    int error = -1;
    socklen_t length = sizeof error;
    STEP(write(fd, "x", 1));
    SETTLED(fd, POLLERR, POLLERR);
    STEP(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length));
    say("%s", errno_name(error));
}

SCENARIO(refused_unconnected_is_not_told) {
    int fd = bound();
    char data[8];
    struct sockaddr_in to = peer_address(9);
    STEP(sendto(fd, "x", 1, 0, IN(to)));
    POLL(fd, POLLIN, 50);
    STEP(recv(fd, data, sizeof data, MSG_DONTWAIT));
}

SCENARIO(sizes) {
    int fd = udp_connected();
    static char data[70000];
    STEP(send(fd, data, 1472, 0));
    say("%ld", peer("recvfrom p"));
    STEP(send(fd, data, 65508, 0));
    STEP(send(fd, data, 70000, 0));
    peer("pushto p %d 1472", port_of(fd));
    STEP(recv(fd, data, sizeof data, 0));
    say("%s", bytes(data + 1462, 10));
}

SCENARIO(longer_than_a_frame) {
    int fd = udp_connected();
    static char data[3000];
    STEP(send(fd, data, sizeof data, 0));
    STEP(send(fd, data, 1, 0));
}

/* Where there are no fragments (IP_PMTUDISC_DO) on Linux either. */
static void too_long(int fd, const struct sockaddr_in *to) {
    static char data[1473];
    struct iovec parts[2] = {{data, 1000}, {data, 473}}, one = {data, 1};
    socklen_t length = to ? sizeof *to : 0;
    struct msghdr message = {
        .msg_name = (void *)to, .msg_namelen = length, .msg_iov = parts, .msg_iovlen = 2};
    struct mmsghdr both[2] = {{.msg_hdr = message}, {.msg_hdr = message}};
    both[0].msg_hdr.msg_iov = &one;
    both[0].msg_hdr.msg_iovlen = 1;
    STEP(sendto(fd, data, 1473, 0, (struct sockaddr *)to, length));
    STEP(sendto(fd, data, 65507, 0, (struct sockaddr *)to, length));
    STEP(sendmsg(fd, &message, 0));
    STEP(sendmmsg(fd, both, 2, 0));
    STEP(sendmmsg(fd, both + 1, 1, 0));
    STEP(sendto(fd, data, 1472, 0, (struct sockaddr *)to, length));
    for (int i = 0; i < 2; i++)
        say("peer has %ld", peer("recvfrom p"));
}

static int whole_datagrams_only(void) {
    int fd = udp(), only = IP_PMTUDISC_DO;
    STEP(setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &only, sizeof only));
    return fd;
}

SCENARIO(too_long_for_a_frame_connected) {
    int fd = whole_datagrams_only();
    struct sockaddr_in to = peer_address(peer("udp p"));
    STEP(connect(fd, IN(to)));
    too_long(fd, NULL);
    static char data[1473];
    struct iovec part = {data, sizeof data};
    STEP(write(fd, data, sizeof data));
    STEP(writev(fd, &part, 1));
    POLL(fd, POLLIN | POLLOUT, 0);
}

SCENARIO(too_long_for_a_frame_unconnected) {
    int fd = whole_datagrams_only();
    struct sockaddr_in to = peer_address(peer("udp p"));
    too_long(fd, &to);
    POLL(fd, POLLIN | POLLOUT, 0);
}

SCENARIO(bind_errors) {
    int fd = bound(), other = udp(), one = 1;
    struct sockaddr_in same = subject_address(port_of(fd)), foreign = local_address("192.0.2.9", 0);
    STEP(bind(other, IN(same)));
    STEP(bind(other, IN(foreign)));
    STEP(bind(fd, IN(same)));
    int third = udp();
    STEP(setsockopt(third, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one));
    STEP(bind(third, IN(same)));
    STEP(close(fd));
    STEP(bind(other, IN(same)));
}

SCENARIO(broadcast_needs_leave) {
    int fd = udp(), one = 1;
    struct sockaddr_in all = local_address("10.77.0.255", 9);
    STEP(sendto(fd, "x", 1, 0, IN(all)));
    STEP(setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &one, sizeof one));
    STEP(sendto(fd, "x", 1, 0, IN(all)));
}

SCENARIO(ready_to_write_and_to_read) {
    int fd = bound();
    POLL(fd, POLLIN | POLLOUT, 0);
    peer("udp p");
    peer("sendto p %d one", port_of(fd));
    SETTLED(fd, POLLIN | POLLOUT, POLLIN);
    char data[8];
    STEP(read(fd, data, sizeof data));
    POLL(fd, POLLIN | POLLOUT, 0);
}

SCENARIO(shutdown_of_a_connected_one) {
    int fd = udp_connected();
    char data[8];
    STEP(shutdown(fd, SHUT_WR));
    STEP(send(fd, "x", 1, MSG_NOSIGNAL));
    STEP(shutdown(fd, SHUT_RD));
    STEP(recv(fd, data, sizeof data, 0));
    POLL(fd, POLLIN | POLLOUT | POLLRDHUP, 0);
}

static void *shut_later(void *fd) {
    pause_ms(50);
    shutdown(*(int *)fd, SHUT_RDWR);
    return NULL;
}

SCENARIO(shutdown_wakes_a_receiver) {
    int fd = bound();
    char data[8];
    pthread_t thread;
    pthread_create(&thread, NULL, shut_later, &fd);
    STEP(recv(fd, data, sizeof data, 0));
    pthread_join(thread, NULL);
    STEP(shutdown(fd, SHUT_RD));
}

SCENARIO(to_loopback) {
    int a = udp(), b = udp();
    struct sockaddr_in any = local_address("127.0.0.1", 0), from;
    socklen_t length = sizeof from;
    STEP(bind(a, IN(any)));
    any.sin_port = htons(port_of(a));
    STEP(sendto(b, "x", 1, 0, IN(any)));
    char data[8];
    STEP(recvfrom(a, data, sizeof data, 0, SA(from), &length));
    say("%s", name_of(SA(from), length));
}

SCENARIO(to_own_address) {
    int a = bound(), b = udp();
    struct sockaddr_in to = subject_address(port_of(a)), from;
    socklen_t length = sizeof from;
    STEP(sendto(b, "x", 1, 0, IN(to)));
    char data[8];
    STEP(recvfrom(a, data, sizeof data, 0, SA(from), &length));
    say("%s", name_of(SA(from), length));
}

SCENARIO(time_limit) {
    int fd = bound();
    char data[8];
    struct timeval limit = {.tv_usec = 50000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    STEP(recv(fd, data, sizeof data, 0));
}

static void *send_later(void *line) {
    pause_ms(200);
    peer("%s", (const char *)line);
    return NULL;
}

SCENARIO(interrupted_and_restarted) {
    int fd = bound();
    char data[8], line[64];
    pthread_t thread;
    peer("udp p");
    catch_signal(SIGALRM, 0);
    interrupt_after(50);
    STEP(recv(fd, data, sizeof data, 0));
    catch_signal(SIGALRM, SA_RESTART);
    interrupt_after(50);
    snprintf(line, sizeof line, "sendto p %d done", port_of(fd));
    pthread_create(&thread, NULL, send_later, line);
    STEP(recv(fd, data, sizeof data, 0));
    say("caught %d", caught);
    pthread_join(thread, NULL);
}
