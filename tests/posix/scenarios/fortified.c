/* The calls that have a checked name when a program is built with _FORTIFY_SOURCE: the compiler knows the
 * buffers, not the lengths. */
#include "scenario.h"

#include <sys/select.h>

static volatile size_t few = 5;
static volatile int two = 2;

SCENARIO(receiving) {
    int fd = connected();
    char data[16];
    struct sockaddr_in from;
    socklen_t length = sizeof from;
    peer("send p abcdefghijklmnopqrst");
    SETTLED(fd, POLLIN, POLLIN);
    STEP(read(fd, data, few));
    say("%s", bytes(data, 5));
    STEP(recv(fd, data, few, MSG_PEEK));
    STEP(recv(fd, data, few, 0));
    say("%s", bytes(data, 5));
    STEP(recvfrom(fd, data, few, 0, SA(from), &length));
    say("%s", bytes(data, 5));
    STEP(pread(fd, data, few, 0));
    STEP(read(fd, data, few));
    STEP(recv(fd, data, few, MSG_DONTWAIT));
}

SCENARIO(polling) {
    int fd = connected();
    struct pollfd some[4] = {{.fd = fd, .events = POLLOUT}, {.fd = -1}};
    struct timespec timeout = MSEC(1000);
    STEP(poll(some, two, 1000));
    STEP(ppoll(some, two, &timeout, NULL));
    fd_set set;
    FD_ZERO(&set);
    FD_SET(fd, &set);
    STEP(select(fd + two, NULL, &set, NULL, NULL));
    say("%d", FD_ISSET(fd, &set) != 0);
}

SCENARIO(datagrams) {
    int fd = udp_connected();
    char data[16];
    struct sockaddr_in from = {0};
    socklen_t length = sizeof from;
    peer("sendto p %d abcdefgh", port_of(fd));
    STEP(recvfrom(fd, data, few, MSG_TRUNC, SA(from), &length));
    say("%s", name_of(SA(from), length));
}

SCENARIO(printing) {
    int fd = connected();
    FILE *stream = fdopen(dup(fd), "r+");
    char data[32];
    STEP(dprintf(fd, "%zu", few));
    fprintf(stream, "%zu", few + 1);
    fflush(stream);
    peer("recv p 2");
    say("peer: %s", peer_text);
    peer("push p 40");
    STEP(fread(data, 1, few, stream));
    say("%s", bytes(data, 5));
}

SCENARIO(whole_sets) {
    int fd = connected();
    fd_set sets[2];
    memset(sets, 0, sizeof sets);
    FD_SET(fd + (two - 2), &sets[0]);
    struct timeval timeout = {.tv_sec = 0};
    STEP(select(FD_SETSIZE, &sets[0], NULL, &sets[1], &timeout));
}
