/* Datagrams on unix sockets, with descriptors beside them. Read first: control.h. */
#include <unistd.h>

#include "wire.h"

#define MAX_DESCRIPTORS 8

int neat_message_send(int to, const struct neat_msg *message, const int *fds, int nfds) {
    struct iovec part = {(void *)message, sizeof *message};
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(2 * sizeof(int))];
    } control;
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    if (nfds > 0) {
        memset(&control, 0, sizeof control);
        header.msg_control = &control;
        header.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&header);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(nfds * sizeof(int));
        memcpy(CMSG_DATA(c), fds, nfds * sizeof(int));
    }
    return libc(sendmsg)(to, &header, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static void close_all(const int *fds, int count) {
    for (int i = 0; i < count; i++)
        libc(close)(fds[i]);
}

/* One datagram of up to `room` bytes; its first two descriptors in got[] (the caller closes them), others
 * are closed. Returns its length, 0 at the end of the stream, -errno. A datagram that was longer than
 * `room`: -EMSGSIZE. */
ssize_t neat_message_recv(int from, void *data, size_t room, int flags, int got[2]) {
    struct iovec part = {data, room};
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(MAX_DESCRIPTORS * sizeof(int))];
    } control;
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control,
                            .msg_controllen = sizeof control};
    got[0] = got[1] = -1;
    ssize_t length = libc(recvmsg)(from, &header, flags);
    if (length < 0)
        return -errno;
    int fds[MAX_DESCRIPTORS], count = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&header); c; c = CMSG_NXTHDR(&header, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        int here = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        for (int i = 0; i < here && count < MAX_DESCRIPTORS; i++)
            memcpy(&fds[count++], CMSG_DATA(c) + i * sizeof(int), sizeof(int));
    }
    if (header.msg_flags & MSG_TRUNC) {
        close_all(fds, count);
        return -EMSGSIZE;
    }
    for (int i = 0; i < 2 && i < count; i++)
        got[i] = fds[i];
    if (count > 2)
        close_all(fds + 2, count - 2);
    return length;
}
