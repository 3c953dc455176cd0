/* dup, fcntl, ioctl, closing: descriptors and what they share. */
#include "scenario.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

SCENARIO(dup_lives_on) {
    int fd = connected();
    int copy = OPENS(dup(fd));
    STEP(close(fd));
    STEP(write(copy, "still", 5));
    peer("recv p 5");
    say("peer: %s", peer_text);
    peer("send p yes");
    char data[8];
    STEP(read(copy, data, sizeof data));
    STEP(close(copy));
    peer("drain p");
    say("peer: %s", peer_text);
}

SCENARIO(dup2_onto) {
    int fd = connected(), other = connected(), file = open("/dev/null", O_RDWR);
    say("%d", dup2(fd, file) == file);
    STEP(write(file, "to first", 8));
    say("%d", dup2(fd, fd) == fd);
    say("%d", dup2(other, fd) == fd);
    STEP(write(fd, "to second", 9));
    peer("recv p 9");
    say("peer: %s", peer_text);
    int null = open("/dev/null", O_RDWR);
    say("%d", dup2(null, other) == other);
    STEP(write(other, "to nowhere", 10));
    STEP(dup2(-1, fd));
    STEP(dup2(fd, -1));
    STEP(dup3(fd, fd, 0));
    STEP(dup3(fd, file, 77));
    say("%d", dup3(fd, file, O_CLOEXEC) == file);
    say("%d", fcntl(file, F_GETFD));
    STEP(fcntl(-1, F_GETFD));
    STEP(dup(-1));
}

SCENARIO(dup2_over_the_last_copy_closes_it) {
    int fd = connected(), null = open("/dev/null", O_RDWR);
    dup2(null, fd);
    peer("gone p");
    say("peer: %s", peer_text);
}

SCENARIO(dup_of_an_undecided_socket) {
    int fd = tcp(), copy = dup(fd);
    struct sockaddr_in to = peer_address(peer("listen l"));
    STEP(connect(copy, IN(to)));
    peer("accept p l");
    STEP(write(fd, "one", 3));
    STEP(write(copy, "two", 3));
    peer("recv p 6");
    say("peer: %s", peer_text);
    say("%s", remote_name(fd));
    close(fd);
    STEP(write(copy, "x", 1));
}

SCENARIO(fcntl_dup) {
    int fd = connected();
    say("%d", STEP(fcntl(fd, F_DUPFD, 50)) >= 50);
    say("%d", STEP(fcntl(fd, F_DUPFD_CLOEXEC, 60)) >= 60);
    say("%d %d", fcntl(50, F_GETFD), fcntl(60, F_GETFD));
    STEP(fcntl(fd, F_DUPFD, -1));
    STEP(write(50, "a", 1));
    STEP(write(60, "b", 1));
    peer("recv p 2");
    say("peer: %s", peer_text);
}

SCENARIO(flags_are_shared_by_copies) {
    int fd = connected(), copy = dup(fd);
    char data[8];
    nonblocking(copy);
    say("%#x", fcntl(fd, F_GETFL));
    STEP(read(fd, data, sizeof data));
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    say("%d %d", fcntl(fd, F_GETFD), fcntl(copy, F_GETFD));
    int off = 0;
    STEP(ioctl(fd, FIONBIO, &off));
    say("%#x", fcntl(copy, F_GETFL));
    int on = 1;
    STEP(ioctl(copy, FIONBIO, &on));
    STEP(read(fd, data, sizeof data));
    STEP(fcntl(fd, F_SETFL, O_RDWR));
    say("%#x", fcntl(fd, F_GETFL));
    STEP(fcntl(fd, 9999, 0));
}

SCENARIO(flags_survive_connect) {
    int fd = tcp();
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    nonblocking(fd);
    struct sockaddr_in any = subject_address(0);
    STEP(bind(fd, IN(any)));
    say("%#x %d", fcntl(fd, F_GETFL), fcntl(fd, F_GETFD));
    STEP(ioctl(fd, FIONCLEX));
    say("%d", fcntl(fd, F_GETFD));
    STEP(ioctl(fd, FIOCLEX));
    say("%d", fcntl(fd, F_GETFD));
}

SCENARIO(queue_lengths) {
    int fd = connected(), n = -1;
    STEP(ioctl(fd, FIONREAD, &n));
    say("%d", n);
    peer("send p 12345");
    SETTLED(fd, POLLIN, POLLIN);
    STEP(ioctl(fd, FIONREAD, &n));
    say("%d", n);
    char data[2];
    STEP(read(fd, data, 2));
    STEP(ioctl(fd, FIONREAD, &n));
    say("%d", n);
    STEP(write(fd, "abc", 3));
    peer("recv p 3");
    for (int i = 0; i < 500 && n; i++, pause_ms(2))
        ioctl(fd, SIOCOUTQ, &n);
    say("unacknowledged: %d", n);
    STEP(ioctl(fd, SIOCOUTQNSD, &n));
    STEP(ioctl(fd, SIOCATMARK, &n));
    STEP(ioctl(fd, 0x1234, &n));
    STEP(ioctl(listener(1), FIONREAD, &n));
    STEP(ioctl(-1, FIONREAD, &n));
}

SCENARIO(what_it_is) {
    int fd = connected();
    struct stat status;
    STEP(fstat(fd, &status));
    say("%o", status.st_mode & S_IFMT);
    char path[64], text[64] = "";
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    say("%d %.8s", readlink(path, text, sizeof text - 1) > 0, text);
}

SCENARIO(close_range_of_some) {
    int fd = connected(), copy = fcntl(fd, F_DUPFD, 40);
    STEP(close_range(40, 50, 0));
    STEP(write(copy, "x", 1));
    STEP(write(fd, "y", 1));
    copy = fcntl(fd, F_DUPFD, 40);
    STEP(close_range(40, 50, CLOSE_RANGE_CLOEXEC));
    say("%d", fcntl(copy, F_GETFD));
    STEP(close_range(50, 40, 0));
    STEP(close_range(3, 100, 0));
    peer("gone p");
    say("peer: %s", peer_text);
}

SCENARIO(close_of_everything_by_number) {
    int fd = connected();
    for (int i = 3; i < 150; i++)
        close(i);
    peer("gone p");
    say("peer: %s", peer_text);
    STEP(write(fd, "x", 1));
    int other = connected();
    STEP(write(other, "again", 5));
    peer("recv p 5");
    say("peer: %s", peer_text);
}

SCENARIO(reused_number_is_the_new_file) {
    int fd = connected(), number = fd;
    STEP(close(fd));
    int file = open("/dev/null", O_RDWR);
    say("%d", file == number);
    STEP(write(file, "x", 1));
    STEP(send(file, "x", 1, 0));
    STEP(close(file));
    int pair[2];
    STEP(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    STEP(send(pair[0], "x", 1, 0));
    char data[4];
    STEP(recv(pair[1], data, sizeof data, 0));
    say("%s", local_name(pair[0]));
}

SCENARIO(no_descriptor_left) {
    int fd = listener(32), last = -1;
    struct rlimit limit = {60, 60};
    for (int i = 0; i < 16; i++) {
        char name[8];
        sprintf(name, "p%d", i);
        accept_one(fd, name);
    }
    peer("connect p %d", port_of(fd));
    peer("send p kept");
    SETTLED(fd, POLLIN, POLLIN);
    STEP(setrlimit(RLIMIT_NOFILE, &limit));
    for (int one; (one = open("/dev/null", O_RDONLY)) >= 0; )
        last = one;
    STEP(accept(fd, NULL, NULL));
    POLL(fd, POLLIN, 0);
    STEP(accept(fd, NULL, NULL));
    STEP(socket(AF_INET, SOCK_STREAM, 0));
    STEP(dup(fd));
    STEP(close(last));
    say("%d", STEP(accept(fd, NULL, NULL)) == last);
    char data[8];
    STEP(read(last, data, sizeof data));
}

SCENARIO(more_than_a_thousand) {
    struct rlimit limit = {3000, 3000};
    STEP(setrlimit(RLIMIT_NOFILE, &limit));
    while (dup(0) < 1500)
        ;
    int fd = connected();
    say("above: %d", fd > 1500);
    peer("send p hello");
    SETTLED(fd, POLLIN, POLLIN);
    char data[8];
    STEP(read(fd, data, sizeof data));
    STEP(write(fd, "x", 1));
    int ep = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    STEP(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event));
    STEP(close(fd));
    peer("gone p");
    say("peer: %s", peer_text);
}

/* SIGIO: at least one for bytes that come. */
static void signal_driven(int fd) {
    caught = 0;
    catch_signal(SIGIO, SA_RESTART);
    STEP(fcntl(fd, F_SETOWN, getpid()));
    STEP(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_ASYNC));
    peer("send p hello");
    for (int waited = 0; !caught && waited < 5000; waited += 5)
        pause_ms(5);
    say("caught: %s", caught ? "yes" : "no");
    char data[8];
    STEP(read(fd, data, 8));
}

SCENARIO(signal_driven_accepted) {
    int from = listener(16);
    for (int i = 0; i < 8; i++)
        close(accept_one(from, "before"));
    signal_driven(accept_one(from, "p"));
}

SCENARIO(signal_driven_connected) {
    signal_driven(connected());
}
