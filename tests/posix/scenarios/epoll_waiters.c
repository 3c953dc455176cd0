/* epoll: who waits, in threads and processes, and signals. */
#include "events.h"

#include <sys/eventfd.h>

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
    if (epoll_wait(*(int *)instance, &event, 1, 500) == 1)
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
