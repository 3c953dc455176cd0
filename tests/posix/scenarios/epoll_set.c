/* epoll: what is in an instance, and instances in and beside each other. */
#include "events.h"

#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

SCENARIO(errors) {
    int fd = connected(), ep = epoll_create1(0), file = open("/etc/passwd", O_RDONLY);
    struct epoll_event event = {.events = EPOLLIN};
    STEP(epoll_create1(77));
    STEP(epoll_create(0));
    STEP(epoll_ctl(ep, EPOLL_CTL_MOD, fd, &event));
    STEP(epoll_ctl(ep, EPOLL_CTL_DEL, fd, &event));
    STEP(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event));
    STEP(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event));
    STEP(epoll_ctl(ep, 77, fd, &event));
    STEP(epoll_ctl(ep, EPOLL_CTL_ADD, 99, &event));
    STEP(epoll_ctl(99, EPOLL_CTL_ADD, fd, &event));
    STEP(epoll_ctl(fd, EPOLL_CTL_ADD, fd, &event));
    STEP(epoll_ctl(file, EPOLL_CTL_ADD, fd, &event));
    STEP(epoll_ctl(ep, EPOLL_CTL_ADD, file, &event));
    STEP(epoll_ctl(ep, EPOLL_CTL_ADD, ep, &event));
    STEP(epoll_ctl(ep, EPOLL_CTL_MOD, fd, NULL));
    STEP(epoll_wait(ep, &event, 0, 0));
    STEP(epoll_wait(ep, &event, -1, 0));
    STEP(epoll_wait(99, &event, 1, 0));
    STEP(epoll_wait(fd, &event, 1, 0));
    STEP(epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL));
    STEP(epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL));
    event.events = EPOLLIN | EPOLLEXCLUSIVE;
    STEP(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event));
    STEP(epoll_ctl(ep, EPOLL_CTL_MOD, fd, &event));
    event.events = EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT;
    STEP(epoll_ctl(ep, EPOLL_CTL_ADD, dup(fd), &event));
}

SCENARIO(loops) {
    int fd = connected(), a = epoll_create1(0), b = epoll_create1(0);
    STEP(add(a, b, EPOLLIN, 1));
    STEP(add(b, a, EPOLLIN, 1));
    STEP(add(b, fd, EPOLLIN, 2));
}

SCENARIO(copies_are_separate) {
    int fd = connected(), copy = dup(fd), ep = epoll_create1(0);
    STEP(add(ep, fd, EPOLLIN, 1));
    STEP(add(ep, copy, EPOLLIN, 2));
    peer("send p x");
    SETTLED(fd, POLLIN, POLLIN);
    wait_for(ep, 5000);
    STEP(epoll_ctl(ep, EPOLL_CTL_DEL, copy, NULL));
    wait_for(ep, 5000);
}

/* epoll(7): a closed descriptor goes on reporting while another one refers to the same description. */
SCENARIO(closed_copy_goes_on) {
    int fd = connected(), copy = dup(fd), ep = epoll_create1(0);
    STEP(add(ep, fd, EPOLLIN, 1));
    STEP(close(fd));
    peer("send p x");
    SETTLED(copy, POLLIN, POLLIN);
    wait_for(ep, 200);
    STEP(epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL));
    STEP(close(copy));
    wait_for(ep, 20);
}

SCENARIO(closed_copy_beside_the_other) {
    int fd = connected(), copy = dup(fd), ep = epoll_create1(0), other = epoll_create1(0);
    char data[8];
    STEP(add(ep, fd, EPOLLIN, 1));
    STEP(close(fd));
    STEP(add(other, copy, EPOLLIN, 2));
    peer("send p x");
    SETTLED(copy, POLLIN, POLLIN);
    wait_for(ep, 5000);
    wait_for(other, 5000);
    STEP(read(copy, data, sizeof data));
    wait_for(ep, 20);
    wait_for(other, 20);
    peer("close p");
    wait_for(other, 5000);
    wait_for(ep, 5000);
    STEP(close(copy));
    wait_for(ep, 20);
    wait_for(other, 20);
}

SCENARIO(close_takes_it_out) {
    int fd = connected(), other = connected(), ep = epoll_create1(0);
    STEP(add(ep, fd, EPOLLIN | EPOLLOUT, 1));
    STEP(add(ep, other, EPOLLOUT, 2));
    STEP(close(fd));
    wait_for(ep, 0);
    int again = connected();
    say("the same number: %d", again == fd);
    wait_for(ep, 0);
    STEP(add(ep, again, EPOLLOUT, 3));
    wait_for(ep, 0);
}

SCENARIO(many_kinds) {
    int fd = connected(), ep = epoll_create1(0), pipes[2], event = eventfd(0, 0);
    int timer = timerfd_create(CLOCK_MONOTONIC, 0);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int signals = signalfd(-1, &set, 0), pair[2];
    if (pipe(pipes) || socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
        give_up("pipe");
    STEP(add(ep, fd, EPOLLIN, 1));
    STEP(add(ep, pipes[0], EPOLLIN, 2));
    STEP(add(ep, event, EPOLLIN, 3));
    STEP(add(ep, timer, EPOLLIN, 4));
    STEP(add(ep, signals, EPOLLIN, 5));
    STEP(add(ep, pair[0], EPOLLIN, 6));
    wait_for(ep, 20);
    STEP(write(pipes[1], "x", 1));
    wait_for(ep, 5000);
    peer("send p x");
    SETTLED(fd, POLLIN, POLLIN);
    wait_for(ep, 5000);
    uint64_t one = 1;
    STEP(write(event, &one, sizeof one));
    raise(SIGUSR1);
    STEP(write(pair[1], "x", 1));
    struct itimerspec soon = {.it_value = {.tv_nsec = 1000000}};
    timerfd_settime(timer, 0, &soon, NULL);
    SETTLED(timer, POLLIN, POLLIN);
    wait_for(ep, 5000);
    char data[8];
    STEP(read(pipes[0], data, 1));
    STEP(read(fd, data, 1));
    wait_for(ep, 5000);
}

SCENARIO(kernel_descriptors_while_connections_are_busy) {
    int fd = connected(), ep = epoll_create1(0), pipes[2];
    if (pipe(pipes))
        give_up("pipe");
    add(ep, fd, EPOLLOUT, 1);
    add(ep, pipes[0], EPOLLIN, 2);
    STEP(write(pipes[1], "x", 1));
    bool seen = false;
    for (int i = 0; i < 100000 && !seen; i++) {
        struct epoll_event event;
        seen = epoll_wait(ep, &event, 1, 0) == 1 && event.data.u32 == 2;
    }
    say("the pipe has its turn: %d", seen);
}

SCENARIO(room_for_one_event_is_fair) {
    int fd = connected(), other = connected(), ep = epoll_create1(0);
    add(ep, fd, EPOLLOUT, 1);
    add(ep, other, EPOLLOUT, 2);
    int seen = 0;
    for (int i = 0; i < 10; i++) {
        struct epoll_event event;
        if (epoll_wait(ep, &event, 1, 1000) == 1)
            seen |= event.data.u32;
    }
    say("both: %d", seen == 3);
}

SCENARIO(nested) {
    int fd = connected(), inner = epoll_create1(0), outer = epoll_create1(0);
    STEP(add(inner, fd, EPOLLIN, 1));
    STEP(add(outer, inner, EPOLLIN, 2));
    wait_for(outer, 20);
    POLL(inner, POLLIN, 0);
    peer("send p x");
    wait_for(outer, 5000);
    POLL(inner, POLLIN, 5000);
    wait_for(inner, 5000);
    char data[8];
    STEP(read(fd, data, 8));
    wait_for(outer, 20);
    POLL(inner, POLLIN, 0);
    wait_for(inner, 0);
    fd_set set;
    FD_ZERO(&set);
    FD_SET(outer, &set);
    peer("send p y");
    STEP(select(outer + 1, &set, NULL, NULL, NULL));
}

SCENARIO(two_instances) {
    int fd = connected(), a = epoll_create1(0), b = epoll_create1(0);
    STEP(add(a, fd, EPOLLIN | EPOLLET, 1));
    STEP(add(b, fd, EPOLLIN, 2));
    peer("send p x");
    wait_for(a, 5000);
    wait_for(b, 5000);
    wait_for(a, 20);
    wait_for(b, 5000);
    char data[8];
    STEP(read(fd, data, 8));
    wait_for(a, 20);
    wait_for(b, 20);
    peer("send p y");
    wait_for(b, 5000);
    wait_for(a, 5000);
}

/* It may go to another file under its number, and nothing of the first may be heard of again. */
SCENARIO(datagrams_waited_for_before_bind) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0), ep = epoll_create1(0);
    struct sockaddr_in any = {.sin_family = AF_INET};
    STEP(add(ep, fd, EPOLLIN | EPOLLOUT, 1));
    wait_for(ep, 0);
    STEP(bind(fd, IN(any)));
    wait_for(ep, 5000);
    STEP(change(ep, fd, EPOLLIN, 2));
    wait_for(ep, 20);
    STEP(epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL));
    wait_for(ep, 20);
    STEP(add(ep, fd, EPOLLOUT, 3));
    wait_for(ep, 5000);
}

/* pclose() closes its file inside libc. */
SCENARIO(number_that_stdio_has_closed) {
    int from = listener(16), ep = epoll_create1(0);
    for (int i = 0; i < 8; i++)
        close(accept_one(from, "before"));
    FILE *stream = popen("exec sleep 0.1", "r");
    int number = fileno(stream);
    STEP(add(ep, number, EPOLLIN, 1));
    wait_for(ep, 0);
    pclose(stream);
    int fd = accept_one(from, "p");
    say("the same number: %s", fd == number ? "yes" : "no");
    STEP(add(ep, fd, EPOLLIN, 2));
    wait_for(ep, 20);
    peer("send p hello");
    wait_for(ep, 5000);
}
