"""The few system calls that the replica makes from compiled code: unix sockets, epoll, sleeping. All
return -errno."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef extern from * nogil:
    """
    #include <errno.h>
    #include <fcntl.h>
    #include <poll.h>
    #include <stdint.h>
    #include <string.h>
    #include <sys/epoll.h>
    #include <sys/ioctl.h>
    #include <sys/mman.h>
    #include <sys/socket.h>
    #include <sys/uio.h>
    #include <linux/sockios.h>
    #include <time.h>
    #include <unistd.h>

    /* One datagram, with a descriptor beside it unless fd is -1. */
    static inline int neat_send(int to, const void *data, size_t length, int fd) {
        if (fd < 0)
            return send(to, data, length, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
        struct iovec part = {(void *)data, length};
        union { struct cmsghdr align; char room[CMSG_SPACE(sizeof(int))]; } control;
        struct msghdr message;
        memset(&message, 0, sizeof message);
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        memset(&control, 0, sizeof control);
        message.msg_control = &control;
        message.msg_controllen = sizeof control.room;
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fd, sizeof(int));
        return sendmsg(to, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
    }

    /* The next datagram, and the descriptor beside it, which is the caller's (-1: none). It stays in the
     * queue, with a descriptor of its own, for who comes after us if we are killed: neat_drop() takes it out
     * when it is carried out. Its length, 0 at the end of the stream, -errno. There is room for one only:
     * CMSG_SPACE() would have some for a second, which nobody would close. */
    static inline int neat_peek(int from, void *data, size_t length, int *fd) {
        struct iovec part = {data, length};
        union { struct cmsghdr align; char room[CMSG_SPACE(sizeof(int))]; } control;
        struct msghdr message;
        memset(&message, 0, sizeof message);
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        message.msg_control = &control;
        message.msg_controllen = CMSG_LEN(sizeof(int));
        ssize_t n = recvmsg(from, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC | MSG_TRUNC | MSG_PEEK);
        struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&message);
        *fd = -1;
        if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
            c->cmsg_len >= CMSG_LEN(sizeof(int)))
            memcpy(fd, CMSG_DATA(c), sizeof(int));
        return n < 0 ? -errno : (int)n;
    }

    static inline void neat_drop(int from) {
        char byte;
        recv(from, &byte, 1, MSG_DONTWAIT);
    }

    /* Whether it is a unix SOCK_SEQPACKET socket: the only thing that an application may hand us. */
    static inline int neat_is_stack_end(int fd) {
        int domain = 0, type = 0;
        socklen_t length = sizeof domain;
        return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 && domain == AF_UNIX &&
               getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_SEQPACKET;
    }

    /* Take up to `count` messages out; how many there were. */
    static inline int neat_drain(int fd, int count) {
        char byte[8];
        int taken = 0;
        while (taken < count && recv(fd, byte, sizeof byte, MSG_DONTWAIT) > 0)
            taken++;
        return taken;
    }

    /* Bytes in the receive queue. */
    static inline int neat_unread(int fd) {
        int bytes = 0;
        return ioctl(fd, SIOCINQ, &bytes) < 0 ? 0 : bytes;
    }

    /* Whether nothing that we sent is unread at the other end; true, too, when that end is gone. */
    static inline int neat_all_read(int fd) {
        int bytes = 0;
        return ioctl(fd, SIOCOUTQ, &bytes) < 0 || bytes == 0;
    }

    static inline int neat_is_hung_up(int fd) {
        struct pollfd at = {.fd = fd};
        return poll(&at, 1, 0) > 0 && at.revents & (POLLHUP | POLLERR | POLLNVAL);
    }

    static inline int neat_watch(int epoll, int op, int fd, uint32_t events, uint64_t data) {
        struct epoll_event event;
        memset(&event, 0, sizeof event);
        event.events = events;
        event.data.u64 = data;
        return epoll_ctl(epoll, op, fd, &event) < 0 ? -errno : 0;
    }

    /* timeout in ns; 0 returns at once. */
    static inline int neat_wait(int epoll, struct epoll_event *events, int count, int64_t timeout) {
        struct timespec at = {timeout / 1000000000, timeout % 1000000000};
        int n = timeout ? epoll_pwait2(epoll, events, count, &at, NULL) : epoll_wait(epoll, events, count, 0);
        if (n < 0 && errno == ENOSYS)
            n = epoll_wait(epoll, events, count, (int)((timeout + 999999) / 1000000));
        return n < 0 ? -errno : n;
    }

    /* Wait until one is readable, at most `timeout` ns: 1 and 2 added up, for the first and second. -1 never
     * is. */
    static inline int neat_wait_for_two(int first, int second, int64_t timeout) {
        struct pollfd at[2] = {{.fd = first, .events = POLLIN}, {.fd = second, .events = POLLIN}};
        struct timespec most = {timeout / 1000000000, timeout % 1000000000};
        if (ppoll(at, 2, &most, NULL) <= 0)
            return 0;
        return (at[0].revents ? 1 : 0) | (at[1].revents ? 2 : 0);
    }

    static inline uint64_t neat_now(void) {
        struct timespec at;
        clock_gettime(CLOCK_MONOTONIC, &at);
        return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
    }

    /* NULL when there is none to be had. */
    static inline void *neat_map(int fd, uint64_t length) {
        void *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
        return memory == MAP_FAILED ? NULL : memory;
    }

    /* Give the memory of a shared mapping back; it reads as zeros from then on. */
    static inline int neat_punch(void *memory, uint64_t length) {
        return madvise(memory, length, MADV_REMOVE) < 0 ? -errno : 0;
    }
    """
    int send_with "neat_send"(int to, const void* data, size_t length, int fd) noexcept
    int peek_with "neat_peek"(int source, void* data, size_t length, int* fd) noexcept
    void drop_message "neat_drop"(int source) noexcept
    bint is_stack_end "neat_is_stack_end"(int fd) noexcept
    int drain "neat_drain"(int fd, int count) noexcept
    int unread "neat_unread"(int fd) noexcept
    bint all_read "neat_all_read"(int fd) noexcept
    bint is_hung_up "neat_is_hung_up"(int fd) noexcept
    int watch "neat_watch"(int epoll, int op, int fd, uint32_t events, uint64_t data) noexcept
    int wait_events "neat_wait"(int epoll, epoll_event* events, int count, int64_t timeout) noexcept
    int wait_for_two "neat_wait_for_two"(int first, int second, int64_t timeout) noexcept
    uint64_t monotonic_ns "neat_now"() noexcept
    void* map_shared "neat_map"(int fd, uint64_t length) noexcept
    int munmap(void* memory, size_t length) noexcept
    int punch "neat_punch"(void* memory, uint64_t length) noexcept

    int pipe2(int* ends, int flags) noexcept
    int close(int fd) noexcept
    int shutdown(int fd, int how) noexcept
    ssize_t read(int fd, void* buffer, size_t length) noexcept
    ssize_t write(int fd, const void* buffer, size_t length) noexcept
    struct iovec:
        void* iov_base
        size_t iov_len
    ssize_t readv(int fd, const iovec* pieces, int count) noexcept
    ssize_t writev(int fd, const iovec* pieces, int count) noexcept
    int epoll_create1(int flags) noexcept

    ctypedef union epoll_data_t:
        uint64_t u64
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    const int EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL
    const uint32_t EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP, EPOLLRDHUP, EPOLLET
    const int O_CLOEXEC, SHUT_RD, SHUT_WR, SHUT_RDWR
    const int errno
