/* Sockets across exec, and from other processes: a descriptor's inode says which one it is.
 *
 * Who is about to exec, or to pass descriptors on, writes each connection's inode into its socket object
 * (adopt_stamp); bound sockets told the syscall server theirs (NEAT_OP_BIND). Who finds a descriptor that
 * may be one of ours looks for its inode in the segments of this application, then asks the server
 * (NEAT_OP_ADOPT). What is set on it is in its socket objects.
 */
#include <dirent.h>
#include <sys/stat.h>

#include "../order.h"
#include "../setup.h"
#include "preload.h"

void adopt_stamp(void) {
    struct stat at;
    neat_flags_shared();
    for (int fd = 0; fd < fd_end(); fd++) {
        struct neat_socket *s = fd_get(fd);
        if (!s)
            continue;
        if (endpoint_current(&s->end) && !load(&s->end.shared->inode) && libc(fstat)(fd, &at) == 0) {
            store(&s->descriptor.inode, (uint64_t)at.st_ino);
            store(&s->end.shared->inode, (uint64_t)at.st_ino);
        }
        neat_put(s);
    }
}

/* The pair of ends that every NEaT socket is: 0 when `fd` cannot be one. */
static uint64_t inode_of_pair(int fd) {
    struct stat at;
    int domain = 0, type = 0;
    socklen_t length = sizeof domain;
    if (libc(getsockopt)(fd, SOL_SOCKET, SO_TYPE, &type, &length) < 0 || type != SOCK_SEQPACKET)
        return 0;
    if (libc(getsockopt)(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) < 0 || domain != AF_UNIX)
        return 0;
    return libc(fstat)(fd, &at) == 0 ? (uint64_t)at.st_ino : 0;
}

/* Index and generation of the connection with that inode. */
static bool find_in(const struct segment *segment, uint64_t inode, uint32_t *index, uint32_t *generation) {
    const struct neat_sock *socks = (const struct neat_sock *)(segment->base + NEAT_SOCKS_OFFSET);
    for (uint32_t i = NEAT_SHARED_SOCKS; i < segment->nsock; i++) {
        uint32_t born = load(&socks[i].generation);
        if ((born & 1) && load(&socks[i].inode) == inode && socks[i].kind == NEAT_SOCK_TCP) {
            *index = i;
            *generation = born;
            return true;
        }
    }
    return false;
}

static struct neat_socket *connection(uint64_t owner, uint32_t replica, uint64_t incarnation, uint32_t index,
                                      uint32_t generation) {
    struct neat_socket *s = neat_new(SOCK_STREAM, IPPROTO_TCP);
    if (!s)
        return NULL;
    s->setup.owner = owner;
    if (neat_endpoint_open(&s->end, owner, replica, incarnation, index, generation) < 0) {
        neat_undup(s);
        return NULL;
    }
    const struct neat_sock *shared = s->end.shared;
    s->setup.local = shared->local;
    s->setup.remote = shared->remote;
    s->descriptor.inode = load(&shared->inode);
    neat_options_read(s, shared);
    uint32_t status = load(&shared->status) & (NEAT_ST_CONNECTING | NEAT_ST_CONNECTED);
    bool connecting = status == NEAT_ST_CONNECTING;
    neat_set_stage(s, connecting ? STAGE_CONNECTING : STAGE_CONNECTED);
    return s;
}

static struct neat_socket *find_connection(uint64_t owner, uint64_t inode) {
    uint32_t active = neat_active_replicas(true), index = 0, generation = 0;
    struct neat_socket *s = NULL;
    for (uint32_t replica = 0; replica < MAX_REPLICAS && !s; replica++) {
        struct segment *segment;
        if (!(active & (1u << replica)) || neat_segment_get(owner, replica, 0, &segment) < 0)
            continue;
        if (find_in(segment, inode, &index, &generation))
            s = connection(owner, replica, segment->incarnation, index, generation);
        neat_segment_put(segment);
    }
    return s;
}

/* What was set on a bound socket is in the lines of any of its parts. */
static void read_settings(struct neat_socket *s, const struct neat_msg *bound) {
    struct endpoint part = {0};
    for (uint32_t replica = 0; replica < MAX_REPLICAS && !part.shared; replica++)
        if ((bound->replica & (1u << replica)) &&
            neat_endpoint_open(&part, s->setup.owner, replica, 0, bound->sock, 0) < 0)
            part.shared = NULL;
    if (part.shared) {
        neat_options_read(s, part.shared);
        if (s->type == SOCK_DGRAM)
            s->setup.remote = part.shared->peer;
        neat_endpoint_close(&part);
    }
}

static struct neat_socket *find_bound(uint64_t owner, uint64_t inode) {
    struct neat_msg message = {.op = NEAT_OP_ADOPT, .u = {(uint32_t)inode, (uint32_t)(inode >> 32)}};
    if (neat_request(&message, NULL, 0, NULL) < 0)
        return NULL;
    bool udp = message.local.protocol == IPPROTO_UDP;
    struct neat_socket *s = neat_new(udp ? SOCK_DGRAM : SOCK_STREAM, udp ? IPPROTO_UDP : IPPROTO_TCP);
    if (!s)
        return NULL;
    s->setup.owner = owner;
    s->setup.bind_id = message.bind_id;
    s->setup.local = message.local;
    s->descriptor.inode = inode;
    s->family = message.options & NEAT_BIND_INET6 ? AF_INET6 : AF_INET;
    s->settings.options = message.options & NEAT_BIND_INET6 ? NEAT_OPT_INET6 : 0;
    s->settings.reuse_address = message.options & NEAT_BIND_REUSEADDR;
    s->settings.reuse_port = message.options & NEAT_BIND_REUSEPORT;
    if (udp || message.backlog >= 0)
        read_settings(s, &message);
    s->setup.shared_index = message.sock;
    if (udp)
        neat_subsockets_open(s, &message);
    else
        neat_set_stage(s, message.backlog < 0 ? STAGE_BOUND : STAGE_LISTENING);
    return s;
}

/* A number that is in the table already: this one is a copy of it. */
static struct neat_socket *copy_of_inode(uint64_t inode) {
    for (int fd = 0; fd < fd_end(); fd++) {
        struct neat_socket *s = fd_get(fd);
        if (!s)
            continue;
        bool same = load(&s->descriptor.inode) == inode;
        if (same)
            neat_dup(s);
        neat_put(s);
        if (same)
            return s;
    }
    return NULL;
}

bool adopt(int fd) {
    uint64_t owner, inode = neat_is_own(fd) ? 0 : inode_of_pair(fd);
    if (!inode || neat_attach(&owner) < 0)
        return false;
    struct neat_socket *s = copy_of_inode(inode);
    if (!s)
        s = find_connection(owner, inode);
    if (!s)
        s = find_bound(owner, inode);
    if (!s)
        return false;
    fd_enter(fd, s, false);
    log_line("descriptor %d is a socket that was left to this program", fd);
    return true;
}

/* Call `act` for each descriptor that goes with the message (unix(7)). */
static void each_descriptor(const struct msghdr *message, void (*act)(int fd)) {
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR((struct msghdr *)message, c)) {
        if (c->cmsg_len < CMSG_LEN(0))
            return;
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t at = 0; at + sizeof(int) <= c->cmsg_len - CMSG_LEN(0); at += sizeof(int)) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + at, sizeof fd);
            act(fd);
        }
    }
}

static void pass_descriptor(int fd) {
    struct neat_socket *s = fd_get(fd);
    if (!s)
        return;
    adopt_stamp();
    neat_put(s);
}

void adopt_passed(const struct msghdr *message) {
    if (fd_any() && message && message->msg_control && message->msg_controllen)
        each_descriptor(message, pass_descriptor);
}

static void receive_descriptor(int fd) {
    adopt(fd_fresh(fd));
}

void adopt_received(const struct msghdr *message) {
    if (message->msg_control && message->msg_controllen)
        each_descriptor(message, receive_descriptor);
}

/* A program starts: what was it left? One that was left no such thing does not even look for the stack. */
AT_START(ORDER_ADOPT) void at_start(void) {
    neat_remember_place();
    if (!getenv("NEAT_APP"))
        return;
    DIR *all = opendir("/proc/self/fd");
    bool standard = false;
    if (!all)
        return;
    for (struct dirent *at; (at = readdir(all));) {
        if (at->d_name[0] != '.' && atoi(at->d_name) != dirfd(all))
            standard |= adopt(atoi(at->d_name)) && atoi(at->d_name) <= STDERR_FILENO;
    }
    closedir(all);
    if (standard)
        stdio_adopt();
}
