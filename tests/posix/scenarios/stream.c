/* Bytes of a connection: read and write by all their names, flags, ends. */
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

SCENARIO(end_of_stream) {
    int fd = connected();
    char data[8];
    peer("send p last");
    peer("shut p w");
    SETTLED(fd, POLLIN | POLLOUT | POLLRDHUP, POLLRDHUP);
    STEP(read(fd, data, sizeof data));
    STEP(read(fd, data, sizeof data));
    STEP(read(fd, data, sizeof data));
    SETTLED(fd, POLLIN | POLLOUT | POLLRDHUP, POLLRDHUP);
    STEP(write(fd, "still", 5));
    peer("recv p 5");
    say("peer: %s", peer_text);
    STEP(shutdown(fd, SHUT_WR));
    SETTLED(fd, POLLIN | POLLOUT | POLLRDHUP, POLLHUP);
    peer("recv p 5");
    say("peer: %s", peer_text);
}

SCENARIO(shutdown_write) {
    int fd = connected();
    char data[8];
    STEP(write(fd, "last", 4));
    STEP(shutdown(fd, SHUT_WR));
    peer("drain p");
    say("peer: %s", peer_text);
    POLL(fd, POLLIN | POLLOUT | POLLRDHUP, 0);
    STEP(send(fd, "x", 1, MSG_NOSIGNAL));
    STEP(shutdown(fd, SHUT_WR));
    peer("send p answer");
    STEP(read(fd, data, sizeof data));
    peer("close p");
    STEP(read(fd, data, sizeof data));
    SETTLED(fd, POLLIN | POLLOUT | POLLRDHUP, POLLHUP);
    STEP(shutdown(fd, SHUT_WR));
}

SCENARIO(shutdown_read) {
    int fd = connected();
    char data[8];
    STEP(shutdown(fd, SHUT_RD));
    POLL(fd, POLLIN | POLLOUT | POLLRDHUP, 0);
    STEP(read(fd, data, sizeof data));
    STEP(write(fd, "out", 3));
    peer("recv p 3");
    say("peer: %s", peer_text);
    STEP(shutdown(fd, SHUT_RD));
}

SCENARIO(shutdown_both) {
    int fd = connected();
    char data[8];
    STEP(shutdown(fd, SHUT_RDWR));
    POLL(fd, POLLIN | POLLOUT | POLLRDHUP, 0);
    STEP(read(fd, data, sizeof data));
    STEP(send(fd, "x", 1, MSG_NOSIGNAL));
    peer("gone p");
    say("peer: %s", peer_text);
    STEP(shutdown(fd, 7));
    STEP(shutdown(-1, SHUT_RD));
    STEP(shutdown(0, SHUT_RD));
}

SCENARIO(close_with_unread_data_resets) {
    int fd = connected();
    peer("send p unread");
    SETTLED(fd, POLLIN, POLLIN);
    STEP(close(fd));
    peer("gone p");
    say("peer: %s", peer_text);
    STEP(close(fd));
    STEP(read(fd, &fd, 1));
}

SCENARIO(close_ends) {
    int fd = connected();
    STEP(write(fd, "bye", 3));
    STEP(close(fd));
    peer("drain p");
    say("peer: %s", peer_text);
}

SCENARIO(close_then_data_resets) {
    int fd = connected();
    STEP(close(fd));
    peer("await p");
    say("peer: %s", peer_text);
    peer("send p late");
    pause_ms(50);
    peer("send p later");
}

SCENARIO(linger_zero_resets) {
    int fd = connected();
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    STEP(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
    STEP(close(fd));
    peer("gone p");
    say("peer: %s", peer_text);
}

SCENARIO(exit_sends_what_is_written) {
    static char data[100000];
    int fd = connected();
    for (int i = 0; i < (int)sizeof data; i++)
        data[i] = "abcdefghijklmnopqrstuvwxy0123456789"[i % 35];
    pid_t child = fork();
    if (child == 0) {
        long n = write(fd, data, sizeof data);
        _exit(n == sizeof data ? 0 : 1);
    }
    close(fd);
    peer("drain p");
    say("peer: %s", peer_text);
    reap(child);
}

SCENARIO(reset_while_reading) {
    int fd = connected();
    char data[8];
    peer("reset p");
    STEP(read(fd, data, sizeof data));
    STEP(read(fd, data, sizeof data));
    STEP(send(fd, "x", 1, MSG_NOSIGNAL));
}

SCENARIO(reset_then_write) {
    int fd = connected();
    peer("reset p");
    SETTLED(fd, POLLIN | POLLOUT | POLLRDHUP, POLLHUP);
    STEP(send(fd, "x", 1, MSG_NOSIGNAL));
    STEP(send(fd, "x", 1, MSG_NOSIGNAL));
    STEP(read(fd, &fd, 1));
}

SCENARIO(reset_with_data_unread) {
    int fd = connected();
    char data[8];
    peer("send p abcd");
    SETTLED(fd, POLLIN, POLLIN);
    peer("reset p");
    SETTLED(fd, POLLIN | POLLRDHUP, POLLHUP);
    STEP(read(fd, data, 2));
    STEP(read(fd, data, sizeof data));
}

SCENARIO(sigpipe) {
    int fd = connected();
    catch_signal(SIGPIPE, 0);
    STEP(shutdown(fd, SHUT_WR));
    STEP(write(fd, "x", 1));
    say("caught %d", caught);
    STEP(send(fd, "x", 1, MSG_NOSIGNAL));
    say("caught %d", caught);
    STEP(send(fd, "x", 1, 0));
    say("caught %d", caught);
    struct iovec one = {"x", 1};
    STEP(writev(fd, &one, 1));
    say("caught %d", caught);
    signal(SIGPIPE, SIG_IGN);
    STEP(write(fd, "x", 1));
}

SCENARIO(sigpipe_kills) {
    int fd = connected();
    shutdown(fd, SHUT_WR);
    pid_t child = fork();
    if (child == 0) {
        write(fd, "x", 1);
        _exit(0);
    }
    reap(child);
}

SCENARIO(sigpipe_blocked_is_pending) {
    int fd = connected();
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    sigprocmask(SIG_BLOCK, &set, NULL);
    shutdown(fd, SHUT_WR);
    STEP(write(fd, "x", 1));
    sigpending(&set);
    say("pending %d", sigismember(&set, SIGPIPE));
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

SCENARIO(timeouts) {
    int fd = connected();
    struct timeval timeout = {.tv_usec = 50000}, seen = {0};
    socklen_t length = sizeof seen;
    static char data[65536];
    STEP(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout));
    STEP(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout));
    STEP(getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &seen, &length));
    say("%ld, at least: %d", (long)seen.tv_sec, seen.tv_usec >= 50000);
    STEP(read(fd, data, sizeof data));
    STEP(recv(fd, data, sizeof data, MSG_WAITALL));
    peer("send p abc");
    SETTLED(fd, POLLIN, POLLIN);
    STEP(recv(fd, data, 10, MSG_WAITALL));
    long n;
    while ((n = write(fd, data, sizeof data)) > 0)
        ;
    say("%s", errno_name(errno));
}

SCENARIO(accept_timeout) {
    int fd = listener(5);
    struct timeval timeout = {.tv_usec = 50000};
    STEP(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout));
    STEP(accept(fd, NULL, NULL));
}

SCENARIO(interrupted_read) {
    int fd = connected();
    char data[8];
    catch_signal(SIGALRM, 0);
    interrupt_after(50);
    STEP(read(fd, data, sizeof data));
    say("caught %d", caught);
    interrupt_after(50);
    STEP(accept(listener(1), NULL, NULL));
    say("caught %d", caught);
}

static void *send_later(void *name) {
    pause_ms(200);
    peer("%s", (const char *)name);
    return NULL;
}

SCENARIO(restarted_read) {
    int fd = connected();
    char data[8];
    pthread_t thread;
    catch_signal(SIGALRM, SA_RESTART);
    interrupt_after(50);
    pthread_create(&thread, NULL, send_later, "send p done");
    STEP(read(fd, data, sizeof data));
    say("caught %d", caught);
    pthread_join(thread, NULL);
}

SCENARIO(restarted_write) {
    int fd = connected();
    static char data[8 << 20];
    pthread_t thread;
    catch_signal(SIGALRM, SA_RESTART);
    interrupt_after(50);
    pthread_create(&thread, NULL, send_later, "take p 8388608");
    long n = write(fd, data, sizeof data);
    say("all, or what was sent before the signal: %d, caught %d", n > 0, caught);
    shutdown(fd, SHUT_WR);
    pthread_join(thread, NULL);
}

SCENARIO(restarted_accept) {
    int fd = listener(5);
    char line[64];
    pthread_t thread;
    snprintf(line, sizeof line, "connect p %d", port_of(fd));
    catch_signal(SIGALRM, SA_RESTART);
    interrupt_after(50);
    pthread_create(&thread, NULL, send_later, line);
    OPENS(accept(fd, NULL, NULL));
    say("caught %d", caught);
    pthread_join(thread, NULL);
}
