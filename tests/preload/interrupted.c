/* A signal arrives while a UDP receive sleeps, whose handler has SA_RESTART or not; then the peer's datagram.
 * interrupted HOW: "restart", "plain", "signal" (signal(2)), "siginterrupt"; with "timeout" SO_RCVTIMEO is
 * set and SA_RESTART, too. */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static int fd, ring[2];
static volatile sig_atomic_t handled;

static void handler(int number) {
    (void)number;
    handled = 1;
    if (write(ring[1], "x", 1) < 0)
        _exit(9);
}

/* Once the handler has run and the receive sleeps again, or has returned, a datagram comes. */
static void *sender(void *to) {
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t length = sizeof at;
    char byte;
    usleep(200000);
    pthread_kill(*(pthread_t *)to, SIGUSR1);
    if (read(ring[0], &byte, 1) != 1)
        _exit(8);
    usleep(50000);
    getsockname(fd, (struct sockaddr *)&at, &length);
    sendto(fd, "data", 4, 0, (struct sockaddr *)&at, sizeof at);
    return NULL;
}

int main(int count, char **arguments) {
    struct sigaction action = {.sa_handler = handler};
    struct sockaddr_in at = {.sin_family = AF_INET};
    const char *how = count > 1 ? arguments[1] : "";
    pthread_t self = pthread_self(), thread;
    char data[16];
    alarm(20);
    if (pipe(ring) < 0)
        return 7;
    if (!strcmp(how, "restart") || !strcmp(how, "timeout"))
        action.sa_flags = SA_RESTART;
    if (!strcmp(how, "signal") || !strcmp(how, "siginterrupt"))
        signal(SIGUSR1, handler);
    else
        sigaction(SIGUSR1, &action, NULL);
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    if (!strcmp(how, "siginterrupt"))
        siginterrupt(SIGUSR1, 1);
    fd = socket(AF_INET, SOCK_DGRAM, 0);
    inet_pton(AF_INET, "10.77.0.2", &at.sin_addr);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) < 0)
        return 6;
    struct timeval limit = {10, 0};
    if (!strcmp(how, "timeout"))
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    pthread_create(&thread, NULL, sender, &self);
    ssize_t n = recv(fd, data, sizeof data, 0);
    printf("%s\n", n == 4 ? "data" : n < 0 && errno == EINTR ? "interrupted" : "?");
    return !handled;
}
