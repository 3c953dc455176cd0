"""Cython's view of client.h; the C header is the truth."""
from libc.stdint cimport int64_t, uint64_t

cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t
    struct sockaddr:
        pass
    struct iovec:
        void* iov_base
        size_t iov_len
    struct msghdr:
        void* msg_name
        socklen_t msg_namelen
        iovec* msg_iov
        size_t msg_iovlen
        void* msg_control
        size_t msg_controllen
        int msg_flags
    struct cmsghdr:
        size_t cmsg_len
        int cmsg_level, cmsg_type
    cmsghdr* CMSG_FIRSTHDR(msghdr* message)
    cmsghdr* CMSG_NXTHDR(msghdr* message, cmsghdr* at)
    unsigned char* CMSG_DATA(cmsghdr* at)
    size_t CMSG_LEN(size_t length)
    int AF_INET, SOCK_STREAM, SOCK_DGRAM, SOCK_CLOEXEC, SOCK_NONBLOCK
    int SOL_SOCKET, SO_ERROR, SO_PROTOCOL, SO_TYPE
    int MSG_DONTWAIT, MSG_NOSIGNAL, MSG_WAITALL

cdef extern from "<netinet/in.h>" nogil:
    struct in_addr:
        unsigned int s_addr
    struct sockaddr_in:
        unsigned short sin_family
        unsigned short sin_port
        in_addr sin_addr

cdef extern from "<arpa/inet.h>" nogil:
    unsigned short htons(unsigned short)
    unsigned short ntohs(unsigned short)
    int inet_pton(int family, const char* text, void* address)
    const char* inet_ntop(int family, const void* address, char* text, socklen_t room)

cdef extern from "client.h" nogil:
    const int NEAT_MSG_RINGS
    struct neat_socket:
        pass
    struct neat_client_stats:
        uint64_t options_refused, flags_refused, bad_offsets, bad_messages, bad_segments, dead_owners, resets
        uint64_t reconnects, bells, waits, tokens
    int neat_open "neat_socket"(int family, int type, int protocol, neat_socket** out)
    neat_socket* neat_get(neat_socket* s)
    void neat_put(neat_socket* s)
    neat_socket* neat_dup(neat_socket* s)
    int neat_close(neat_socket* s, int fd)
    int neat_shutdown(neat_socket* s, int fd, int how)
    int neat_bind(neat_socket* s, int fd, const sockaddr* address, socklen_t length)
    int neat_listen(neat_socket* s, int fd, int backlog)
    int neat_accept(
        neat_socket* s, int fd, sockaddr* address, socklen_t* length, int flags, neat_socket** out
    )
    int neat_connect(neat_socket* s, int fd, const sockaddr* address, socklen_t length)
    ssize_t neat_recv(neat_socket* s, int fd, void* data, size_t length, int flags)
    ssize_t neat_send(neat_socket* s, int fd, const void* data, size_t length, int flags)
    ssize_t neat_recvfrom(
        neat_socket* s, int fd, void* data, size_t length, int flags, sockaddr* address, socklen_t* room
    )
    ssize_t neat_sendto(
        neat_socket* s, int fd, const void* data, size_t length, int flags, const sockaddr* address,
        socklen_t n
    )
    ssize_t neat_recvmsg(neat_socket* s, int fd, msghdr* message, int flags)
    ssize_t neat_sendmsg(neat_socket* s, int fd, const msghdr* message, int flags)
    ssize_t neat_sendfile(neat_socket* s, int fd, int file, int64_t* offset, size_t count)
    int neat_inq(neat_socket* s)
    int neat_outq(neat_socket* s)
    int neat_getsockopt(neat_socket* s, int fd, int level, int name, void* value, socklen_t* length)
    int neat_setsockopt(neat_socket* s, int fd, int level, int name, const void* value, socklen_t length)
    int neat_getsockname(neat_socket* s, sockaddr* address, socklen_t* length)
    int neat_getpeername(neat_socket* s, sockaddr* address, socklen_t* length)
    int neat_wait(int fd, short events, int64_t timeout_ns)
    void neat_stats(neat_client_stats* out)
