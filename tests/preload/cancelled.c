/* A thread is cancelled in a call that sleeps (pthread_cancel(3)); after the close nothing is left of the
 * socket: cancelled CALL, which is recv, accept, poll or epoll. Prints how many descriptors more there are
 * than before. */
#include <arpa/inet.h>
#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *call;
static int fd, go[2];

static struct sockaddr_in at(const char *host, int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    inet_pton(AF_INET, host, &address.sin_addr);
    return address;
}

static void *sleep_in_call(void *unused) {
    static char data[1 << 16];
    (void)unused;
    if (write(go[1], "x", 1) != 1)
        exit(3);
    if (!strcmp(call, "recv"))
        recv(fd, data, sizeof data, 0);
    else if (!strcmp(call, "accept"))
        accept(fd, NULL, NULL);
    else if (!strcmp(call, "poll"))
        poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, -1);
    else if (!strcmp(call, "epoll"))
        epoll_wait(fd, &(struct epoll_event){0}, 1, -1);
    exit(4);                       /* it returned */
}

static int descriptors(void) {
    DIR *all = opendir("/proc/self/fd");
    int count = 0;
    while (all && readdir(all))
        count++;
    closedir(all);
    return count;
}

static void once(void) {
    struct sockaddr_in peer = at("10.77.0.1", 7000), own = at("10.77.0.2", 0);
    struct epoll_event event = {.events = EPOLLIN};
    pthread_t thread;
    char byte;
    int sock = socket(AF_INET, SOCK_STREAM, 0);
    fd = sock;
    if (!strcmp(call, "accept") ? bind(fd, (struct sockaddr *)&own, sizeof own) || listen(fd, 1)
                                : connect(fd, (struct sockaddr *)&peer, sizeof peer))
        exit(5);
    if (!strcmp(call, "epoll")) {
        fd = epoll_create1(0);
        if (epoll_ctl(fd, EPOLL_CTL_ADD, sock, &event) < 0)
            exit(6);
    }
    if (pthread_create(&thread, NULL, sleep_in_call, NULL) || read(go[0], &byte, 1) != 1)
        exit(7);
    usleep(20000); /* a call that has not slept yet sleeps then, and is cancelled all the same */
    if (pthread_cancel(thread) || pthread_join(thread, NULL))
        exit(8);
    close(fd);
    if (fd != sock)
        close(sock);
}

int main(int count, char **arguments) {
    if (count < 2 || pipe(go) < 0)
        return 2;
    alarm(20);
    call = arguments[1];
    for (int i = 0; i < 16; i++)
        once();
    int before = descriptors();
    for (int i = 0; i < 10; i++)
        once();
    printf("%d\n", descriptors() - before);
    return 0;
}
