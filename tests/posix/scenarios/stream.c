/* Bytes of a connection: read and write by all their names, and flags. */
#include "scenario.h"

SCENARIO(read_and_write) {
    int fd = connected();
    char data[64];
    STEP(write(fd, "hello", 5));
    peer("recv p 5");
    say("peer: %s", peer_text);
    peer("send p answer");
    long n = STEP(read(fd, data, sizeof data));
    say("%s", bytes(data, n));
    STEP(read(fd, data, 0));
    STEP(write(fd, data, 0));
    STEP(send(fd, data, 0, 0));
    STEP(recv(fd, data, 0, MSG_DONTWAIT));
}

SCENARIO(vectors) {
    int fd = accepted();
    char a[3], b[5];
    struct iovec out[] = {{"one", 3}, {"", 0}, {"two", 3}}, in[] = {{a, 3}, {b, 5}};
    STEP(writev(fd, out, 3));
    peer("recv p 6");
    say("peer: %s", peer_text);
    peer("send p 1234567890");
    STEP(readv(fd, in, 2));
    say("%s %s", bytes(a, 3), bytes(b, 5));
    STEP(readv(fd, in, 1));
    STEP(writev(fd, out, 0));
    STEP(readv(fd, in, -1));
    STEP(writev(fd, out, 1025));
}

SCENARIO(bad_pointers) {
    int fd = connected();
    char data[8];
    STEP(write(fd, (void *)8, 4));
    peer("send p abcd");
    SETTLED(fd, POLLIN, POLLIN);
    STEP(read(fd, (void *)8, 4));
    STEP(read(fd, data, sizeof data));
    STEP(send(fd, (void *)8, 4, 0));
}

SCENARIO(offsets_are_for_files) {
    int fd = connected();
    char data[8];
    struct iovec one = {data, sizeof data};
    STEP(pread(fd, data, sizeof data, 0));
    STEP(pwrite(fd, data, sizeof data, 0));
    STEP(preadv(fd, &one, 1, 0));
    STEP(pwritev(fd, &one, 1, 0));
    STEP(preadv2(fd, &one, 1, 0, 0));
    STEP(lseek(fd, 0, SEEK_SET));
    peer("send p abcd");
    STEP(preadv2(fd, &one, 1, -1, 0));
    STEP(pwritev2(fd, &one, 1, -1, 0));
    STEP(isatty(fd));
    STEP(ftruncate(fd, 0));
    STEP(fsync(fd));
}

SCENARIO(nothing_there) {
    int fd = connected();
    char data[8];
    STEP(recv(fd, data, sizeof data, MSG_DONTWAIT));
    nonblocking(fd);
    STEP(read(fd, data, sizeof data));
    STEP(recv(fd, data, sizeof data, MSG_WAITALL));
    STEP(recv(fd, data, sizeof data, MSG_PEEK));
}

SCENARIO(peek) {
    int fd = connected();
    char data[8] = "";
    peer("send p abcdef");
    SETTLED(fd, POLLIN, POLLIN);
    STEP(recv(fd, data, 3, MSG_PEEK));
    STEP(recv(fd, data, 8, MSG_PEEK));
    say("%s", bytes(data, 6));
    STEP(recv(fd, data, 2, 0));
    STEP(recv(fd, data, 8, MSG_PEEK | MSG_DONTWAIT));
    say("%s", bytes(data, 4));
    POLL(fd, POLLIN, 0);
    STEP(recv(fd, data, 8, MSG_DONTWAIT));
    POLL(fd, POLLIN, 0);
}

SCENARIO(waitall) {
    int fd = connected();
    char data[100] = "";
    peer("send p abc");
    peer("send p defghi");
    STEP(recv(fd, data, 9, MSG_WAITALL));
    say("%s", bytes(data, 9));
    peer("send p xyz");
    peer("shut p w");
    STEP(recv(fd, data, 9, MSG_WAITALL));
    STEP(recv(fd, data, 9, MSG_WAITALL));
}

SCENARIO(waitall_peek_and_a_long_one) {
    int fd = connected();
    static char data[300000];
    peer("push p 300000");
    STEP(recv(fd, data, 1000, MSG_WAITALL | MSG_PEEK));
    STEP(recv(fd, data, sizeof data, MSG_WAITALL));
    say("%s", bytes(data + 299990, 10));
}

SCENARIO(truncate_discards) {
    int fd = connected();
    char data[8] = "########";
    peer("send p abcdef");
    SETTLED(fd, POLLIN, POLLIN);
    STEP(recv(fd, data, 4, MSG_TRUNC));
    say("%s", bytes(data, 4));
    STEP(recv(fd, data, 4, 0));
    say("%s", bytes(data, 2));
}

SCENARIO(flags_that_are_not_for_streams) {
    int fd = connected();
    char data[8];
    STEP(recv(fd, data, sizeof data, MSG_ERRQUEUE));
    STEP(recv(fd, data, sizeof data, MSG_OOB));
    STEP(send(fd, "ab", 2, MSG_MORE));
    STEP(send(fd, "c", 1, MSG_DONTROUTE));
    STEP(send(fd, "d", 1, MSG_EOR));
    STEP(send(fd, "e", 1, MSG_CONFIRM));
    peer("recv p 5");
    say("peer: %s", peer_text);
}

SCENARIO(addresses_of_a_stream) {
    int fd = connected();
    struct sockaddr_in from, to = peer_address(9);
    socklen_t length = sizeof from;
    char data[8];
    STEP(sendto(fd, "abc", 3, 0, IN(to)));
    peer("recv p 3");
    say("peer: %s", peer_text);
    peer("send p abc");
    STEP(recvfrom(fd, data, sizeof data, 0, SA(from), &length));
    say("%u", length);
    STEP(sendto(tcp(), "abc", 3, MSG_NOSIGNAL, IN(to)));
}

SCENARIO(a_lot_out) {
    int fd = connected();
    static char data[35 * 1000];
    for (int i = 0; i < (int)sizeof data; i++)
        data[i] = "abcdefghijklmnopqrstuvwxy0123456789"[i % 35];
    pid_t child = fork();
    if (child == 0) {
        long total = 0;
        for (int i = 0; i < 60; i++)
            total += write(fd, data, sizeof data);
        _exit(total == 60l * (long)sizeof data ? 0 : 1);
    }
    close(fd);
    say("%ld", peer("drain p"));
    say("peer: %s", peer_text);
    reap(child);
}

SCENARIO(a_lot_in) {
    int fd = connected();
    static char data[35 * 1000];
    peer("push p 1");
    STEP(read_all(fd, data, 1));
    pid_t child = fork();
    if (child == 0) {
        long total = 0, n;
        bool right = true;
        while ((n = read(fd, data, sizeof data)) > 0) {
            for (long i = 0; i < n; i++)
                right = right && data[i] == "abcdefghijklmnopqrstuvwxy0123456789"[(total + i) % 35];
            total += n;
        }
        _exit(right && total == 2000000 ? 0 : 1);
    }
    close(fd);
    peer("push p 2000000");
    peer("close p");
    reap(child);
}

SCENARIO(full_then_room) {
    int fd = connected();
    static char data[65536];
    nonblocking(fd);
    long total = 0, n;
    struct pollfd room = {.fd = fd, .events = POLLOUT};
    do
        while ((n = write(fd, data, sizeof data)) > 0)
            total += n;
    while (poll(&room, 1, 100) > 0);
    say("%s, some of it: %d", errno_name(errno), total > 0);
    peer("take p %ld", total);
    SETTLED(fd, POLLOUT, POLLOUT);
    say("%d", send(fd, data, 1, 0) == 1);
}
