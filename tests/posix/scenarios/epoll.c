/* epoll: level and edge, once, exclusive, nested, mixed. */
#include "scenario.h"

#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

static int add(int ep, int fd, uint32_t events, int tag) {
    struct epoll_event event = {.events = events, .data.u32 = tag};
    return epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event);
}

static int change(int ep, int fd, uint32_t events, int tag) {
    struct epoll_event event = {.events = events, .data.u32 = tag};
    return epoll_ctl(ep, EPOLL_CTL_MOD, fd, &event);
}

static int by_tag(const void *a, const void *b) {
    return (int)((const struct epoll_event *)a)->data.u32 - (int)((const struct epoll_event *)b)->data.u32;
}

/* What epoll_wait says, in the order of the tags. */
static const char *waited(int ep, int timeout) {
    static _Thread_local char line[512];
    struct epoll_event events[16];
    int n = epoll_wait(ep, events, 16, timeout);
    if (n < 0)
        return errno_name(errno);
    qsort(events, n, sizeof *events, by_tag);
    char *at = line + sprintf(line, "%d", n);
    for (int i = 0; i < n; i++)
        at += sprintf(at, " %u:%s", events[i].data.u32, epoll_names(events[i].events));
    return line;
}

static void wait_for(int ep, int timeout) {
    say("wait: %s", waited(ep, timeout));
}

SCENARIO(level_triggered) {
    int fd = connected(), ep = epoll_create1(EPOLL_CLOEXEC);
    char data[8];
    STEP(add(ep, fd, EPOLLIN, 1));
    wait_for(ep, 0);
    wait_for(ep, 20);
    peer("send p abcd");
    wait_for(ep, 5000);
    wait_for(ep, 0);
    STEP(read(fd, data, 2));
    wait_for(ep, 0);
    STEP(read(fd, data, 8));
    wait_for(ep, 20);
    STEP(change(ep, fd, EPOLLIN | EPOLLOUT, 2));
    wait_for(ep, 5000);
    peer("send p x");
    SETTLED(fd, POLLIN, POLLIN);
    wait_for(ep, 5000);
}

SCENARIO(edge_triggered) {
    int fd = connected(), ep = epoll_create1(0);
    char data[8];
    STEP(add(ep, fd, EPOLLIN | EPOLLET, 1));
    wait_for(ep, 20);
    peer("send p abcd");
    wait_for(ep, 5000);
    wait_for(ep, 50);
    STEP(read(fd, data, 8));
    STEP(recv(fd, data, 8, MSG_DONTWAIT));
    wait_for(ep, 20);
    peer("send p ef");
    wait_for(ep, 5000);
    wait_for(ep, 50);
    STEP(read(fd, data, 8));
    peer("shut p w");
    wait_for(ep, 5000);
    wait_for(ep, 50);
}

SCENARIO(edge_for_each_arrival) {
    int fd = connected(), ep = epoll_create1(0);
    STEP(add(ep, fd, EPOLLIN | EPOLLET, 1));
    peer("send p ab");
    wait_for(ep, 5000);
    wait_for(ep, 20);
    peer("send p cd");
    wait_for(ep, 500);
    wait_for(ep, 20);
    char data[1];
    STEP(read(fd, data, 1));
    wait_for(ep, 20);
}

SCENARIO(edge_both_ways_at_add) {
    int fd = connected(), ep = epoll_create1(0);
    peer("send p ab");
    SETTLED(fd, POLLIN, POLLIN);
    STEP(add(ep, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, 1));
    wait_for(ep, 5000);
    wait_for(ep, 20);
    STEP(change(ep, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, 2));
    wait_for(ep, 5000);
    wait_for(ep, 20);
}

SCENARIO(edge_of_room) {
    int fd = connected(), ep = epoll_create1(0);
    static char data[65536];
    nonblocking(fd);
    STEP(add(ep, fd, EPOLLOUT | EPOLLET, 1));
    wait_for(ep, 5000);
    wait_for(ep, 20);
    long total = 0, n;
    struct pollfd room = {.fd = fd, .events = POLLOUT};
    do
        while ((n = write(fd, data, sizeof data)) > 0)
            total += n;
    while (poll(&room, 1, 100) > 0);
    struct epoll_event event;
    epoll_wait(ep, &event, 1, 0);
    say("full: %s", errno_name(errno));
    wait_for(ep, 50);
    peer("take p %ld", total);
    wait_for(ep, 5000);
    say("%d", write(fd, data, 1) == 1);
}

SCENARIO(once) {
    int fd = connected(), ep = epoll_create1(0);
    STEP(add(ep, fd, EPOLLIN | EPOLLONESHOT, 1));
    peer("send p ab");
    wait_for(ep, 5000);
    wait_for(ep, 20);
    peer("send p cd");
    wait_for(ep, 20);
    STEP(change(ep, fd, EPOLLIN | EPOLLONESHOT, 2));
    wait_for(ep, 5000);
    wait_for(ep, 20);
    STEP(change(ep, fd, EPOLLOUT | EPOLLONESHOT | EPOLLET, 3));
    wait_for(ep, 5000);
    peer("reset p");
    wait_for(ep, 50);
}

SCENARIO(hang_up_events) {
    int fd = connected(), ep = epoll_create1(0);
    char data[8];
    STEP(add(ep, fd, EPOLLIN | EPOLLRDHUP, 1));
    peer("send p ab");
    peer("shut p w");
    SETTLED(fd, POLLIN | POLLRDHUP, POLLRDHUP);
    wait_for(ep, 5000);
    STEP(read(fd, data, 8));
    STEP(read(fd, data, 8));
    wait_for(ep, 5000);
    STEP(shutdown(fd, SHUT_WR));
    SETTLED(fd, POLLIN | POLLRDHUP, POLLHUP);
    wait_for(ep, 5000);
}

SCENARIO(reset_events) {
    int fd = connected(), ep = epoll_create1(0);
    STEP(add(ep, fd, EPOLLIN, 1));
    peer("reset p");
    wait_for(ep, 5000);
    wait_for(ep, 0);
    char data[8];
    STEP(read(fd, data, 8));
    wait_for(ep, 0);
    STEP(change(ep, fd, 0, 2));
    wait_for(ep, 0);
}

SCENARIO(own_shutdown_events) {
    int fd = connected(), ep = epoll_create1(0);
    STEP(add(ep, fd, EPOLLIN | EPOLLRDHUP, 1));
    wait_for(ep, 0);
    STEP(shutdown(fd, SHUT_RD));
    wait_for(ep, 500);
    STEP(shutdown(fd, SHUT_WR));
    wait_for(ep, 500);
}

SCENARIO(connect_events) {
    int fd = tcp(), ep = epoll_create1(0);
    nonblocking(fd);
    STEP(add(ep, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, 1));
    wait_for(ep, 0);
    struct sockaddr_in to = peer_address(peer("listen l"));
    STEP(connect(fd, IN(to)));
    wait_for(ep, 5000);
    wait_for(ep, 20);
    peer("accept p l");
    peer("send p x");
    wait_for(ep, 5000);
}

SCENARIO(connect_refused_events) {
    int fd = tcp(), ep = epoll_create1(0);
    nonblocking(fd);
    struct sockaddr_in to = peer_address(peer("unused"));
    STEP(connect(fd, IN(to)));
    STEP(add(ep, fd, EPOLLIN | EPOLLOUT, 1));
    SETTLED(fd, POLLIN | POLLOUT, POLLHUP);
    wait_for(ep, 5000);
    int error = 0;
    socklen_t length = sizeof error;
    STEP(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length));
    say("%s", errno_name(error));
}

/* As event loops do it: wait, then ask. */
SCENARIO(connect_refused_then_asked) {
    int fd = tcp(), ep = epoll_create1(0);
    nonblocking(fd);
    struct sockaddr_in to = peer_address(peer("unused"));
    STEP(connect(fd, IN(to)));
    pause_ms(50);
    STEP(add(ep, fd, EPOLLOUT | EPOLLET, 1));
    wait_for(ep, 5000);
    int error = 0;
    socklen_t length = sizeof error;
    STEP(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length));
    say("%s", errno_name(error));
    STEP(close(fd));
    wait_for(ep, 20);
}

SCENARIO(listener_events) {
    int fd = tcp(), ep = epoll_create1(0);
    struct sockaddr_in any = subject_address(0);
    STEP(add(ep, fd, EPOLLIN, 1));
    STEP(bind(fd, IN(any)));
    STEP(listen(fd, 5));
    wait_for(ep, 20);
    peer("connect p %d", port_of(fd));
    wait_for(ep, 5000);
    peer("connect q %d", port_of(fd));
    OPENS(accept(fd, NULL, NULL));
    wait_for(ep, 5000);
    OPENS(accept(fd, NULL, NULL));
    wait_for(ep, 20);
}

SCENARIO(edge_triggered_listener) {
    int fd = listener(5), ep = epoll_create1(0);
    STEP(add(ep, fd, EPOLLIN | EPOLLET, 1));
    peer("connect p %d", port_of(fd));
    wait_for(ep, 5000);
    wait_for(ep, 20);
    OPENS(accept(fd, NULL, NULL));
    peer("connect q %d", port_of(fd));
    wait_for(ep, 5000);
    OPENS(accept(fd, NULL, NULL));
}

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
    wait_for(ep, 5000);
    STEP(epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL));
    STEP(close(copy));
    wait_for(ep, 20);
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

SCENARIO(interrupted) {
    int fd = connected(), ep = epoll_create1(0);
    add(ep, fd, EPOLLIN, 1);
    catch_signal(SIGALRM, SA_RESTART);
    interrupt_after(50);
    wait_for(ep, 5000);
    say("caught %d", caught);
    sigset_t blocked, none;
    sigemptyset(&none);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGALRM);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    raise(SIGALRM);
    wait_for(ep, 20);
    struct epoll_event event;
    STEP(epoll_pwait(ep, &event, 1, 20, NULL));
    say("caught %d", caught);
    STEP(epoll_pwait(ep, &event, 1, 5000, &none));
    say("caught %d", caught);
    raise(SIGALRM);
    struct timespec timeout = MSEC(5000);
    STEP(epoll_pwait2(ep, &event, 1, &timeout, &none));
    say("caught %d", caught);
    timeout = MSEC(20);
    STEP(epoll_pwait2(ep, &event, 1, &timeout, NULL));
    timeout.tv_nsec = -1;
    STEP(epoll_pwait2(ep, &event, 1, &timeout, NULL));
}

static void *wait_in_thread(void *instance) {
    return strdup(waited(*(int *)instance, 5000));
}

static void say_joined(pthread_t thread) {
    void *line;
    pthread_join(thread, &line);
    say("the thread: %s", (char *)line);
    free(line);
}

SCENARIO(changed_while_another_waits) {
    int fd = connected(), ep = epoll_create1(0);
    pthread_t thread;
    add(ep, fd, EPOLLIN, 1);
    pthread_create(&thread, NULL, wait_in_thread, &ep);
    pause_ms(50);
    STEP(change(ep, fd, EPOLLIN | EPOLLOUT, 2));
    say_joined(thread);
    change(ep, fd, EPOLLIN, 3);
    pthread_create(&thread, NULL, wait_in_thread, &ep);
    pause_ms(50);
    int other = connected();
    STEP(add(ep, other, EPOLLOUT, 4));
    say_joined(thread);
}

SCENARIO(woken_from_a_thread_by_eventfd) {
    int fd = connected(), ep = epoll_create1(0), event = eventfd(0, 0);
    pthread_t thread;
    add(ep, fd, EPOLLIN, 1);
    add(ep, event, EPOLLIN, 2);
    pthread_create(&thread, NULL, wait_in_thread, &ep);
    pause_ms(50);
    uint64_t one = 1;
    STEP(write(event, &one, sizeof one));
    say_joined(thread);
}

SCENARIO(exclusive_wakes_at_least_one) {
    int fd = listener(5), a = epoll_create1(0), b = epoll_create1(0);
    STEP(add(a, fd, EPOLLIN | EPOLLEXCLUSIVE, 1));
    STEP(add(b, fd, EPOLLIN | EPOLLEXCLUSIVE, 2));
    peer("connect p %d", port_of(fd));
    SETTLED(fd, POLLIN, POLLIN);
    wait_for(a, 5000);
    wait_for(b, 5000);
    OPENS(accept(fd, NULL, NULL));
    wait_for(a, 20);
}

static _Atomic int woken;

static void *count_wake_up(void *instance) {
    struct epoll_event event;
    if (epoll_wait(*(int *)instance, &event, 1, 1000) == 1)
        woken++;
    return NULL;
}

SCENARIO(one_edge_wakes_one_thread) {
    int fd = connected(), ep = epoll_create1(0);
    pthread_t threads[3];
    add(ep, fd, EPOLLIN | EPOLLET, 1);
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, count_wake_up, &ep);
    pause_ms(50);
    peer("send p x");
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    say("woken: %d", woken);
}

SCENARIO(one_shot_wakes_one_thread) {
    int fd = connected(), ep = epoll_create1(0);
    pthread_t threads[3];
    add(ep, fd, EPOLLIN | EPOLLONESHOT, 1);
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, count_wake_up, &ep);
    pause_ms(50);
    peer("send p x");
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    say("woken: %d", woken);
}

SCENARIO(in_a_child) {
    int fd = connected(), ep = epoll_create1(0);
    add(ep, fd, EPOLLIN, 1);
    pid_t child = fork();
    if (child == 0) {
        wait_for(ep, 5000);
        char data[8];
        STEP(read(fd, data, 8));
        _exit(0);
    }
    peer("send p child");
    reap(child);
    wait_for(ep, 20);
    peer("send p parent");
    wait_for(ep, 5000);
}

SCENARIO(made_in_a_child) {
    int fd = connected();
    pid_t child = fork();
    if (child == 0) {
        int ep = epoll_create1(0);
        add(ep, fd, EPOLLIN | EPOLLRDHUP, 1);
        wait_for(ep, 5000);
        char data[8];
        STEP(read(fd, data, 8));
        wait_for(ep, 5000);
        _exit(0);
    }
    close(fd);
    peer("send p child");
    pause_ms(100);
    peer("shut p w");
    reap(child);
    peer("gone p");
    say("peer: %s", peer_text);
}

SCENARIO(taken_over_by_a_child) {
    int fd = connected(), ep = epoll_create1(0);
    add(ep, fd, EPOLLIN, 1);
    wait_for(ep, 0);
    pid_t child = fork();
    if (child == 0) {
        close(ep);
        ep = epoll_create1(0);
        add(ep, fd, EPOLLIN, 2);
        wait_for(ep, 5000);
        char data[8];
        STEP(read(fd, data, 8));
        STEP(write(fd, "done", 4));
        _exit(0);
    }
    close(fd);
    close(ep);
    peer("send p child");
    peer("recv p 4");
    say("peer: %s", peer_text);
    reap(child);
    peer("gone p");
    say("peer: %s", peer_text);
}

SCENARIO(datagram_events) {
    int fd = udp(), ep = epoll_create1(0);
    struct sockaddr_in any = subject_address(0);
    STEP(bind(fd, IN(any)));
    STEP(add(ep, fd, EPOLLIN | EPOLLET, 1));
    wait_for(ep, 20);
    peer("udp p");
    peer("sendto p %d one", port_of(fd));
    wait_for(ep, 5000);
    char data[8];
    STEP(recv(fd, data, 8, 0));
    wait_for(ep, 20);
    peer("sendto p %d two", port_of(fd));
    wait_for(ep, 5000);
    STEP(change(ep, fd, EPOLLIN | EPOLLOUT, 2));
    wait_for(ep, 5000);
}
