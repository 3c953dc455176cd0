/* bind, listen. */
#include <sys/stat.h>

#include "setup.h"

#define MAX_BACKLOG 4096

/* Give the stack's end to the syscall server with a local address. Caller holds `setup.lock`. */
int neat_bind_locked(struct neat_socket *s, int fd, const struct neat_addr *local) {
    struct neat_msg message = {.op = NEAT_OP_BIND, .local = *local};
    message.options |= s->settings.reuse_address ? NEAT_BIND_REUSEADDR : 0;
    message.options |= s->settings.reuse_port ? NEAT_BIND_REUSEPORT : 0;
    message.options |= s->family == AF_INET6 ? NEAT_BIND_INET6 : 0;
    struct stat at;
    if (libc(fstat)(fd, &at) == 0) {   /* by this a program after exec finds it */
        store(&s->descriptor.inode, (uint64_t)at.st_ino);
        message.u[0] = (uint32_t)at.st_ino;
        message.u[1] = (uint32_t)((uint64_t)at.st_ino >> 32);
    }
    int status = neat_request(&message, &s->descriptor.stack_end, 1, NULL);
    if (status < 0)
        return status;
    s->setup.owner = message.token;
    s->setup.bind_id = message.bind_id;
    s->setup.any_port = !local->port;
    s->setup.local = message.local;
    s->setup.local.family = 4;
    s->setup.local.protocol = (uint8_t)s->protocol;
    neat_close_own(s->descriptor.stack_end);
    s->descriptor.stack_end = -1;
    if (s->type == SOCK_DGRAM)
        return neat_subsockets_open(s, &message);
    neat_set_stage(s, STAGE_BOUND);
    return 0;
}

int neat_bind(struct neat_socket *s, int fd, const struct sockaddr *address, socklen_t length) {
    struct neat_addr local;
    int status = neat_from_sockaddr(s, address, length, &local);
    if (status < 0)
        return status;
    pthread_mutex_lock(&s->setup.lock);
    if (load(&s->stage) != STAGE_NEW)
        status = -EINVAL;
    else if (s->settings.no_port && s->type == SOCK_STREAM && !local.port)
        s->setup.local = local;          /* IP_BIND_ADDRESS_NO_PORT: connect() chooses */
    else
        status = neat_bind_locked(s, fd, &local);
    pthread_mutex_unlock(&s->setup.lock);
    if (status == 0 && s->type == SOCK_DGRAM)
        neat_subsockets_read(s, fd, MAX_REPLICAS);
    return status;
}

void neat_listener_apply(struct neat_socket *s) {
    struct endpoint part;
    uint32_t replicas = neat_active_replicas(false);
    for (uint32_t k = 0; k < MAX_REPLICAS; k++) {
        if (!(replicas & 1u << k) ||
            neat_endpoint_open(&part, s->setup.owner, k, 0, s->setup.shared_index, 0) < 0)
            continue;
        if (part.index < NEAT_SHARED_SOCKS && part.shared->kind == NEAT_SOCK_LISTENER)
            neat_options_apply(s, &part);
        neat_endpoint_close(&part);
    }
}

int neat_listen(struct neat_socket *s, int fd, int backlog) {
    struct neat_addr any = {.family = 4, .protocol = IPPROTO_TCP};
    int status = 0;
    if (s->type != SOCK_STREAM)
        return -EOPNOTSUPP;
    pthread_mutex_lock(&s->setup.lock);
    uint32_t stage = load(&s->stage);
    if (stage == STAGE_NEW)
        status = neat_bind_locked(s, fd, &any);
    else if (stage != STAGE_BOUND && stage != STAGE_LISTENING)
        status = -EINVAL;
    if (status == 0) {
        struct neat_msg message = {.op = NEAT_OP_LISTEN, .bind_id = s->setup.bind_id};
        message.u[0] = neat_defer_seconds(s);
        message.backlog = backlog < 0 || backlog > MAX_BACKLOG ? MAX_BACKLOG : backlog;
        status = neat_request(&message, NULL, 0, NULL);
        if (status == 0) {
            s->setup.backlog = backlog;
            s->setup.shared_index = message.sock;
            neat_set_stage(s, STAGE_LISTENING);
        }
    }
    pthread_mutex_unlock(&s->setup.lock);
    if (status == 0 && stage != STAGE_LISTENING) {
        /* And so the segments are mapped while there are descriptor numbers for that; likewise the cords. */
        neat_listener_apply(s);
        neat_segments_corded(s->setup.owner);
        neat_spares_stock();
    }
    return status;
}
