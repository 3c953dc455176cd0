/* How a connection ends: shutdown, close, exit, reset, SIGPIPE. */
#include "scenario.h"

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

SCENARIO(linger_zero_sends_what_is_written) {
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    for (int i = 0; i < 5; i++) {
        int fd = connected();
        STEP(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
        STEP(write(fd, "abcdefghij", 10));
        STEP(close(fd));
        say("peer: %ld", peer("drain p"));
        say("peer: %s", peer_text);
    }
}

SCENARIO(close_with_unread_data_sends_what_is_written) {
    int fd = connected();
    peer("send p unread");
    SETTLED(fd, POLLIN, POLLIN);
    STEP(write(fd, "abcdefghij", 10));
    STEP(close(fd));
    say("peer: %ld", peer("drain p"));
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

SCENARIO(reset_after_the_end) {
    int fd = connected(), error = 0;
    socklen_t length = sizeof error;
    char data[8];
    peer("shut p w");
    SETTLED(fd, POLLIN | POLLRDHUP, POLLRDHUP);
    STEP(read(fd, data, sizeof data));
    peer("reset p");
    SETTLED(fd, POLLIN | POLLOUT | POLLRDHUP, POLLHUP);
    POLL(fd, 0, 0);
    STEP(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length));
    say("%s", errno_name(error));
    SETTLED(fd, POLLIN | POLLOUT | POLLRDHUP, POLLHUP);
    STEP(read(fd, data, sizeof data));
    STEP(send(fd, data, 1, MSG_NOSIGNAL));
}
