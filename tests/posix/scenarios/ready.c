/* poll, ppoll, select, pselect. */
#include "scenario.h"

#include <sys/select.h>
#include <sys/timerfd.h>

#define ALL (POLLIN | POLLPRI | POLLOUT | POLLRDHUP | POLLRDNORM | POLLWRNORM)

SCENARIO(poll_of_a_connection) {
    int fd = connected();
    char data[8];
    POLL(fd, ALL, 0);
    POLL(fd, POLLIN, 20);
    POLL(fd, 0, 0);
    peer("send p abc");
    SETTLED(fd, ALL, POLLIN);
    POLL(fd, POLLIN, -1);
    STEP(read(fd, data, 1));
    POLL(fd, ALL, 0);
    STEP(read(fd, data, 8));
    POLL(fd, ALL, 0);
    peer("shut p w");
    SETTLED(fd, ALL, POLLRDHUP);
    POLL(fd, POLLOUT, 0);
}

SCENARIO(poll_of_a_reset_connection) {
    int fd = connected();
    peer("reset p");
    SETTLED(fd, ALL, POLLHUP);
    POLL(fd, 0, -1);
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
    say("%s", errno_name(error));
    SETTLED(fd, ALL, POLLHUP);
}

SCENARIO(poll_of_a_listener) {
    int fd = listener(5);
    POLL(fd, ALL, 0);
    peer("connect p %d", port_of(fd));
    SETTLED(fd, ALL, POLLIN);
    OPENS(accept(fd, NULL, NULL));
    POLL(fd, ALL, 0);
}

SCENARIO(poll_of_many_kinds) {
    int fd = connected(), pipes[2], timer = timerfd_create(CLOCK_MONOTONIC, 0);
    if (pipe(pipes))
        give_up("pipe");
    struct pollfd all[] = {
        {fd, POLLIN, 9}, {pipes[0], POLLIN, 9}, {timer, POLLIN, 9}, {-1, POLLIN, 9}, {99, POLLIN, 9}};
    STEP(poll(all, 4, 0));
    say("%d %d %d %d", all[0].revents, all[1].revents, all[2].revents, all[3].revents);
    STEP(poll(all, 5, -1));
    say("%s", poll_names(all[4].revents));
    peer("send p x");
    STEP(poll(all, 4, 5000));
    say("%d %d", all[0].revents, all[1].revents);
    STEP(write(pipes[1], "y", 1));
    STEP(poll(all, 4, 5000));
    say("%d %d", all[0].revents, all[1].revents);
    struct itimerspec soon = {.it_value = {.tv_nsec = 1000000}};
    timerfd_settime(timer, 0, &soon, NULL);
    STEP(poll(&all[2], 1, 5000));
    STEP(poll(NULL, 0, 10));
    STEP(poll((void *)8, 1, 10));
}

SCENARIO(poll_twice_the_same) {
    int fd = connected();
    peer("send p x");
    SETTLED(fd, POLLIN, POLLIN);
    struct pollfd two[] = {{fd, POLLIN, 0}, {fd, POLLOUT, 0}};
    STEP(poll(two, 2, 0));
    say("%d %d", two[0].revents, two[1].revents);
}

static void *later(void *what) {
    pause_ms(100);
    peer("%s", (const char *)what);
    return NULL;
}

SCENARIO(poll_sleeps_until_data) {
    int fd = connected();
    pthread_t thread;
    pthread_create(&thread, NULL, later, "send p x");
    POLL(fd, POLLIN, 5000);
    pthread_join(thread, NULL);
    pthread_create(&thread, NULL, later, "close p");
    POLL(fd, POLLRDHUP, 5000);
    pthread_join(thread, NULL);
}

SCENARIO(poll_sleeps_until_a_connection) {
    int fd = listener(5);
    char line[64];
    snprintf(line, sizeof line, "connect p %d", port_of(fd));
    pthread_t thread;
    pthread_create(&thread, NULL, later, line);
    POLL(fd, POLLIN, 5000);
    pthread_join(thread, NULL);
}

SCENARIO(poll_interrupted) {
    int fd = connected();
    struct pollfd one = {fd, POLLIN, 0};
    catch_signal(SIGALRM, SA_RESTART);
    interrupt_after(50);
    STEP(poll(&one, 1, 5000));
    say("caught %d", caught);
    interrupt_after(50);
    fd_set set;
    FD_ZERO(&set);
    FD_SET(fd, &set);
    STEP(select(fd + 1, &set, NULL, NULL, NULL));
    say("caught %d", caught);
}

SCENARIO(ppoll_mask) {
    int fd = connected();
    struct pollfd one = {fd, POLLIN, 0};
    sigset_t blocked, none;
    sigemptyset(&none);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGALRM);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    catch_signal(SIGALRM, 0);
    raise(SIGALRM);
    struct timespec timeout = MSEC(20);
    STEP(poll(&one, 1, 20));
    STEP(ppoll(&one, 1, &timeout, NULL));
    say("caught %d", caught);
    timeout = MSEC(5000);
    STEP(ppoll(&one, 1, &timeout, &none));
    say("caught %d", caught);
    raise(SIGALRM);
    fd_set set;
    FD_ZERO(&set);
    FD_SET(fd, &set);
    STEP(pselect(fd + 1, &set, NULL, NULL, &timeout, &none));
    say("caught %d", caught);
    timeout.tv_nsec = 1000000000;
    STEP(ppoll(&one, 1, &timeout, NULL));
}

SCENARIO(select_sets) {
    int fd = connected(), pipes[2];
    if (pipe(pipes))
        give_up("pipe");
    fd_set in, out, bad;
    FD_ZERO(&in);
    FD_SET(fd, &in);
    FD_SET(pipes[0], &in);
    out = bad = in;
    FD_CLR(pipes[0], &out);
    struct timeval timeout = {0};
    STEP(select(pipes[1] + 1, &in, &out, &bad, &timeout));
    say("%d %d, %d, %d", !!FD_ISSET(fd, &in), !!FD_ISSET(pipes[0], &in), !!FD_ISSET(fd, &out),
        !!FD_ISSET(fd, &bad));
    peer("send p x");
    FD_SET(fd, &in);
    FD_SET(pipes[0], &in);
    timeout.tv_sec = 5;
    STEP(select(pipes[1] + 1, &in, NULL, NULL, &timeout));
    say("%d %d, time is left: %d", !!FD_ISSET(fd, &in), !!FD_ISSET(pipes[0], &in), timeout.tv_sec >= 3);
    peer("reset p");
    pause_ms(50);
    FD_ZERO(&in);
    FD_SET(fd, &in);
    out = bad = in;
    STEP(select(pipes[1] + 1, &in, &out, &bad, NULL));
    say("%d, %d, %d", !!FD_ISSET(fd, &in), !!FD_ISSET(fd, &out), !!FD_ISSET(fd, &bad));
    FD_SET(99, &in);
    STEP(select(100, &in, NULL, NULL, &timeout));
    STEP(select(-1, &in, NULL, NULL, &timeout));
    timeout.tv_sec = -1;
    STEP(select(0, NULL, NULL, NULL, &timeout));
    timeout = (struct timeval){.tv_usec = 10000};
    STEP(select(0, NULL, NULL, NULL, &timeout));
    say("%ld %ld", (long)timeout.tv_sec, (long)timeout.tv_usec);
}

SCENARIO(pselect_leaves_the_timeout) {
    int fd = connected();
    fd_set set;
    FD_ZERO(&set);
    FD_SET(fd, &set);
    struct timespec timeout = MSEC(20);
    STEP(pselect(fd + 1, &set, NULL, NULL, &timeout, NULL));
    say("%ld", timeout.tv_nsec);
    FD_SET(fd, &set);
    STEP(pselect(fd + 1, NULL, &set, NULL, NULL, NULL));
}

SCENARIO(poll_after_another_process_read_it) {
    int fd = connected();
    peer("send p abc");
    SETTLED(fd, POLLIN, POLLIN);
    pid_t child = fork();
    if (child == 0) {
        char data[8];
        _exit((int)read(fd, data, sizeof data));
    }
    reap(child);
    POLL(fd, POLLIN, 50);
    STEP(recv(fd, &child, 1, MSG_DONTWAIT));
    peer("send p abc");
    SETTLED(fd, POLLIN, POLLIN);
}
