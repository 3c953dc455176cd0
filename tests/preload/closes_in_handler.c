/* A signal handler closes descriptors while the program is inside of calls that have to do with them: close()
 * is async-signal-safe (signal-safety(7)). closes_in_handler member: those that an epoll instance has, in
 * epoll_wait() and epoll_ctl(), and the instance still knows what it has after that; socket: sockets, in
 * socket() and close(). */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
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

static int with_sockets(void) {
    while (closed < ROUNDS) {
        victim = socket(AF_INET, SOCK_STREAM, 0);
        while (victim >= 0)
            close(socket(AF_INET, SOCK_STREAM, 0));
    }
    return 0;
}

static int with_members(void) {
    struct epoll_event event = {.events = EPOLLIN}, found[4];
    int ends[2], epfd = epoll_create1(0);
    if (epfd < 0 || pipe(ends) < 0)
        return 2;
    event.data.fd = ends[0];
    if (epoll_ctl(epfd, EPOLL_CTL_ADD, ends[0], &event) < 0)
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
    return write(ends[1], "x", 1) == 1 && epoll_wait(epfd, found, 4, 1000) == 1 && found[0].data.fd == ends[0]
               ? 0
               : 6;
}

int main(int count, char **arguments) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    struct itimerval often = {{0, 50}, {0, 50}};
    if (count < 2 || sigaction(SIGALRM, &action, NULL) < 0 || setitimer(ITIMER_REAL, &often, NULL) < 0)
        return 1;
    int status = strcmp(arguments[1], "member") ? with_sockets() : with_members();
    if (status == 0)
        puts("done");
    return status;
}
