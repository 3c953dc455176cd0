/* A blocked call: what ends it, timeouts and signals. */
#include "scenario.h"

SCENARIO(timeouts) {
    int fd = connected();
    struct timeval timeout = {.tv_usec = 50000}, seen = {0};
    socklen_t length = sizeof seen;
    static char data[65536];
    STEP(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout));
    STEP(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout));
    STEP(getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &seen, &length));
    say("%ld, at least: %d", (long)seen.tv_sec, seen.tv_usec >= 50000);
    STEP(read(fd, data, sizeof data));
    STEP(recv(fd, data, sizeof data, MSG_WAITALL));
    peer("send p abc");
    SETTLED(fd, POLLIN, POLLIN);
    STEP(recv(fd, data, 10, MSG_WAITALL));
    long n;
    while ((n = write(fd, data, sizeof data)) > 0)
        ;
    say("%s", errno_name(errno));
}

SCENARIO(accept_timeout) {
    int fd = listener(5);
    struct timeval timeout = {.tv_usec = 50000};
    STEP(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout));
    STEP(accept(fd, NULL, NULL));
}

SCENARIO(interrupted_read) {
    int fd = connected();
    char data[8];
    catch_signal(SIGALRM, 0);
    interrupt_after(50);
    STEP(read(fd, data, sizeof data));
    say("caught %d", caught);
    interrupt_after(50);
    STEP(accept(listener(1), NULL, NULL));
    say("caught %d", caught);
}

static void *send_later(void *name) {
    pause_ms(200);
    peer("%s", (const char *)name);
    return NULL;
}

SCENARIO(restarted_read) {
    int fd = connected();
    char data[8];
    pthread_t thread;
    catch_signal(SIGALRM, SA_RESTART);
    interrupt_after(50);
    pthread_create(&thread, NULL, send_later, "send p done");
    STEP(read(fd, data, sizeof data));
    say("caught %d", caught);
    pthread_join(thread, NULL);
}

SCENARIO(restarted_write) {
    int fd = connected();
    static char data[8 << 20];
    pthread_t thread;
    catch_signal(SIGALRM, SA_RESTART);
    interrupt_after(50);
    pthread_create(&thread, NULL, send_later, "take p 8388608");
    long n = write(fd, data, sizeof data);
    say("all, or what was sent before the signal: %d, caught %d", n > 0, caught);
    shutdown(fd, SHUT_WR);
    pthread_join(thread, NULL);
}

SCENARIO(restarted_accept) {
    int fd = listener(5);
    char line[64];
    pthread_t thread;
    snprintf(line, sizeof line, "connect p %d", port_of(fd));
    catch_signal(SIGALRM, SA_RESTART);
    interrupt_after(50);
    pthread_create(&thread, NULL, send_later, line);
    OPENS(accept(fd, NULL, NULL));
    say("caught %d", caught);
    pthread_join(thread, NULL);
}
