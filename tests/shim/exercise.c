/* The client core, driven from C so that a sanitizer can watch it. Usage: exercise echo | hostile SEED |
 * noise SEED. Needs NEAT_RUN_DIR. Exits 0 when everything was as it should be; prints the line that was
 * not. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../neat/abi/channel.h"
#include "../../neat/shim/client.h"

#define CHECK(what) \
    do { \
        if (!(what)) { \
            fprintf(stderr, "line %d: %s\n", __LINE__, #what); \
            exit(1); \
        } \
    } while (0)

#define BULK 3000000
#define ROUNDS 3000
#define NOISE_PORT 1005

struct end {
    struct neat_socket *s;
    int fd;
};

static uint64_t seed = 1;

static uint32_t random32(void) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33);
}

static struct sockaddr_in at(const char *host, int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    inet_pton(AF_INET, host, &address.sin_addr);
    return address;
}

static struct end make(int type) {
    struct end e;
    e.fd = neat_socket(AF_INET, type | SOCK_CLOEXEC, 0, &e.s);
    CHECK(e.fd >= 0);
    return e;
}

static struct end listener(struct sockaddr_in *name) {
    struct end e = make(SOCK_STREAM);
    struct sockaddr_in any = at("10.77.0.2", 0);
    socklen_t length = sizeof *name;
    CHECK(neat_bind(e.s, e.fd, (struct sockaddr *)&any, sizeof any) == 0);
    CHECK(neat_listen(e.s, e.fd, 16) == 0);
    CHECK(neat_getsockname(e.s, (struct sockaddr *)name, &length) == 0);
    return e;
}

static int try_join(struct end *server, struct end *client) {
    struct sockaddr_in name, peer;
    socklen_t length = sizeof peer;
    struct end l = listener(&name);
    *client = make(SOCK_STREAM);
    int status = neat_connect(client->s, client->fd, (struct sockaddr *)&name, sizeof name);
    if (status == 0) {
        server->fd = neat_accept(l.s, l.fd, (struct sockaddr *)&peer, &length, SOCK_CLOEXEC, &server->s);
        CHECK(server->fd >= 0);
    } else {
        neat_close(client->s, client->fd);
    }
    CHECK(neat_close(l.s, l.fd) == 0);
    return status;
}

static void join(struct end *server, struct end *client) {
    CHECK(try_join(server, client) == 0);
}

static void *send_bulk(void *argument) {
    struct end *e = argument;
    char *data = malloc(BULK);
    for (int i = 0; i < BULK; i++)
        data[i] = (char)(i * 7);
    for (size_t done = 0; done < BULK;) {
        ssize_t n = neat_send(e->s, e->fd, data + done, BULK - done, 0);
        CHECK(n > 0);
        done += (size_t)n;
    }
    CHECK(neat_shutdown(e->s, e->fd, SHUT_WR) == 0);
    free(data);
    return NULL;
}

static void bulk(struct end *from, struct end *to) {
    pthread_t thread;
    char *data = malloc(65536);
    size_t got = 0;
    pthread_create(&thread, NULL, send_bulk, from);
    for (;;) {
        ssize_t n = neat_recv(to->s, to->fd, data, 1 + random32() % 65536, 0);
        CHECK(n >= 0);
        if (!n)
            break;
        for (ssize_t i = 0; i < n; i++)
            CHECK(data[i] == (char)((got + (size_t)i) * 7));
        got += (size_t)n;
    }
    CHECK(got == BULK);
    pthread_join(thread, NULL);
    free(data);
}

static void options(struct end *e) {
    int value;
    char room[256];
    for (int level = 0; level < 20; level++)
        for (int name = 0; name < 80; name++)
            for (int size = 0; size <= 16; size += 4) {
                socklen_t length = (socklen_t)size;
                neat_getsockopt(e->s, e->fd, level, name, room, &length);
                value = (int)random32() % 100;
                memcpy(room, &value, sizeof value);
                neat_setsockopt(e->s, e->fd, level, name, room, (socklen_t)size);
            }
    socklen_t length = sizeof room;
    CHECK(neat_getsockopt(e->s, e->fd, IPPROTO_TCP, TCP_INFO, room, &length) == 0);
}

static void datagrams(void) {
    struct end a = make(SOCK_DGRAM), b = make(SOCK_DGRAM);
    struct sockaddr_in name = at("10.77.0.2", 0), from;
    socklen_t length = sizeof name;
    char data[2000];
    CHECK(neat_bind(a.s, a.fd, (struct sockaddr *)&name, sizeof name) == 0);
    CHECK(neat_getsockname(a.s, (struct sockaddr *)&name, &length) == 0);
    for (int i = 0; i < 500; i++) {
        size_t size = random32() % sizeof data;
        memset(data, i, sizeof data);
        CHECK(neat_sendto(b.s, b.fd, data, size, 0, (struct sockaddr *)&name, sizeof name) == (ssize_t)size);
        length = sizeof from;
        CHECK(neat_recvfrom(a.s, a.fd, data, sizeof data, 0, (struct sockaddr *)&from, &length) ==
              (ssize_t)size);
    }
    CHECK(neat_close(a.s, a.fd) == 0);
    CHECK(neat_close(b.s, b.fd) == 0);
}

static void echo(void) {
    struct end a, b;
    for (int i = 0; i < 20; i++) {
        join(&a, &b);
        CHECK(neat_close(a.s, a.fd) == 0);
        CHECK(neat_close(b.s, b.fd) == 0);
    }
    join(&a, &b);
    bulk(&a, &b);
    bulk(&b, &a);
    CHECK(neat_close(a.s, a.fd) == 0);
    CHECK(neat_close(b.s, b.fd) == 0);
    join(&a, &b);
    options(&a);
    CHECK(neat_close(a.s, a.fd) == 0);
    CHECK(neat_close(b.s, b.fd) == 0);
    datagrams();
}

/* Every segment of ours, found as a stranger would: in /proc/self/maps. */
static int segments(uint8_t *found[8]) {
    char line[512];
    int count = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (count < 8 && fgets(line, sizeof line, maps))
        if (strstr(line, "memfd:app"))
            found[count++] = (uint8_t *)strtoull(line, NULL, 16);
    fclose(maps);
    return count;
}

static uint64_t absurd(void) {
    static const uint64_t values[] = {0, 1, 65535, 65536, 65537, UINT64_MAX, UINT64_C(1) << 63, 0xFFFFFFFFu};
    return random32() % 2 ? values[random32() % 8] : (uint64_t)random32() << 32 | random32();
}

/* One word of what the stack may write to: anywhere in the lines of a connection or UDP object, or in its
 * rings' first bytes. */
static void scribble(uint8_t *segment) {
    uint32_t index = random32() % 16 + (random32() % 2 ? 256 : 0);
    uint8_t *object = segment + NEAT_SOCKS_OFFSET + index * sizeof(struct neat_sock);
    uint64_t value = absurd();
    uint32_t offset = random32() % (sizeof(struct neat_sock) / 8) * 8;
    /* The locks are the application's own word to itself. */
    if (offset == offsetof(struct neat_sock, tx_lock))
        return;
    if (random32() % 4)
        memcpy(object + offset, &value, 8);
    else
        memcpy(segment + neat_rx_offset(512, 65536, 65536, index) + random32() % 64, &value, 8);
}

static void poke_at(struct end *e, char *data) {
    struct sockaddr_in name = at("10.77.0.2", 40000);
    socklen_t length = sizeof name;
    size_t size = random32() % 100000;
    neat_recv(e->s, e->fd, data, size, MSG_DONTWAIT | (random32() % 4 ? 0 : MSG_PEEK));
    neat_send(e->s, e->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    neat_sendto(e->s, e->fd, data, size % 2000, MSG_DONTWAIT, (struct sockaddr *)&name, sizeof name);
    neat_inq(e->s);
    neat_outq(e->s);
    neat_getpeername(e->s, (struct sockaddr *)&name, &length);
    int error;
    length = sizeof error;
    neat_getsockopt(e->s, e->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    char info[256];
    length = sizeof info;
    neat_getsockopt(e->s, e->fd, IPPROTO_TCP, TCP_INFO, info, &length);
}

static void hostile(void) {
    char *data = calloc(1, 100000);
    uint8_t *found[8];
    for (int round = 0; round < ROUNDS / 100; round++) {
        struct end a, b, u = make(SOCK_DGRAM);
        struct sockaddr_in any = at("10.77.0.2", 0);
        /* The fake replicas are less careful than we are: they may be on their way up again. */
        for (int i = 0; try_join(&a, &b) < 0; i++) {
            CHECK(i < 100);
            usleep(20000);
        }
        CHECK(neat_bind(u.s, u.fd, (struct sockaddr *)&any, sizeof any) == 0);
        int count = segments(found);
        CHECK(count > 0);
        for (int i = 0; i < 100; i++) {
            for (int j = 0; j < 4; j++)
                scribble(found[random32() % (uint32_t)count]);
            poke_at(&a, data);
            poke_at(&b, data);
            poke_at(&u, data);
        }
        neat_close(a.s, a.fd);
        neat_close(b.s, b.fd);
        neat_close(u.s, u.fd);
        for (int i = 0; i < count; i++)
            memset(found[i] + NEAT_SOCKS_OFFSET, 0, 512 * sizeof(struct neat_sock));
    }
    free(data);
    struct neat_client_stats stats;
    neat_stats(&stats);
    CHECK(stats.bad_offsets > 10);
    CHECK(stats.resets > 0);
}

static void noise(void) {
    struct sockaddr_in name = at("10.77.0.2", NOISE_PORT);
    struct timeval limit = {0, 20000};
    char data[1000];
    for (int round = 0; round < 30; round++) {
        struct end e = make(SOCK_STREAM);
        neat_setsockopt(e.s, e.fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        if (neat_connect(e.s, e.fd, (struct sockaddr *)&name, sizeof name) == 0)
            for (int i = 0; i < 20; i++)
                if (neat_recv(e.s, e.fd, data, sizeof data, 0) == -EAGAIN)
                    break;
        neat_close(e.s, e.fd);
    }
    struct neat_client_stats stats;
    neat_stats(&stats);
    CHECK(stats.resets > 0);
}

int main(int count, char **arguments) {
    alarm(60);
    if (count > 2)
        seed = strtoull(arguments[2], NULL, 10);
    if (count > 1 && !strcmp(arguments[1], "echo"))
        echo();
    else if (count > 1 && !strcmp(arguments[1], "hostile"))
        hostile();
    else if (count > 1 && !strcmp(arguments[1], "noise"))
        noise();
    else
        return 2;
    return 0;
}
