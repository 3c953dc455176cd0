/* A signal handler closes descriptors that an epoll instance has, while the program is in epoll_wait() and epoll_ctl(): close() is
 * async-signal-safe (signal-safety(7)). Then the instance must still know what it has. */
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/time.h>
#include <unistd.h>

#define ROUNDS 3000

static volatile sig_atomic_t victim = -1, closed;

static void handler(int number) {
    (void)number;
    int fd = victim;
    victim = -1;
    if (fd < 0)
        return;
    close(fd);
    closed++;
}

int main(void) {
    struct itimerval often = {{0, 50}, {0, 50}};
    struct epoll_event event = {.events = EPOLLIN}, found[4];
    int ends[2], epfd = epoll_create1(0);
    if (epfd < 0 || pipe(ends) < 0 || signal(SIGALRM, handler) == SIG_ERR)
        return 2;
    event.data.fd = ends[0];
    if (epoll_ctl(epfd, EPOLL_CTL_ADD, ends[0], &event) < 0 || setitimer(ITIMER_REAL, &often, NULL) < 0)
        return 3;
    while (closed < ROUNDS) {
        int fd = eventfd(0, 0);
        event.data.fd = fd;
        if (fd < 0 || epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &event) < 0)
            return 4;
        victim = fd;
        while (victim >= 0)
            if (epoll_wait(epfd, found, 4, 0) > 0)
                return 5;
    }
    setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 0}}, NULL);
    if (write(ends[1], "x", 1) != 1 || epoll_wait(epfd, found, 4, 1000) < 1)
        return 6;
    puts("done");
    return 0;
}
