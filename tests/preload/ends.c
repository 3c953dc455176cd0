/* The process ends while threads sleep in accept, recv and a send that found no room. ends HOW: return, exit,
 * _exit, abort, kill, thread. */
#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct sockaddr_in peer = {.sin_family = AF_INET};

static int dial(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&peer, sizeof peer) < 0)
        _exit(9);
    return fd;
}

static void *accepting(void *unused) {
    struct sockaddr_in any = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(fd, (struct sockaddr *)&any, sizeof any) < 0 || listen(fd, 1) < 0)
        _exit(8);
    accept(fd, NULL, NULL);
    return unused;
}

static void *receiving(void *unused) {
    char data[10];
    recv(dial(), data, sizeof data, 0);
    return unused;
}

static void *sending(void *unused) {
    static char data[1 << 20];
    int fd = dial();
    while (send(fd, data, sizeof data, 0) > 0)
        ;
    return unused;
}

int main(int count, char **arguments) {
    void *(*const all[])(void *) = {accepting, receiving, sending};
    const char *how = count > 1 ? arguments[1] : "return";
    pthread_t thread;
    peer.sin_port = htons(7000);
    inet_pton(AF_INET, "10.77.0.1", &peer.sin_addr);
    for (int i = 0; i < 3; i++)
        pthread_create(&thread, NULL, all[i], NULL);
    usleep(300000);
    printf("%d\n", (int)getpid());
    fflush(stdout);
    if (!strcmp(how, "exit"))
        exit(0);
    if (!strcmp(how, "_exit"))
        _exit(0);
    if (!strcmp(how, "abort"))
        abort();
    if (!strcmp(how, "kill"))
        kill(getpid(), SIGKILL);
    return 0;
}
