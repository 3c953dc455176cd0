/* sendfile() and splice(). tee(), vmsplice() and copy_file_range() need nothing: they take no socket, and
 * our descriptors are sockets to the kernel, too. */
#include "../data.h"
#include "preload.h"

#define MOST_BYTES ((size_t)0x7ffff000)
#define SURE_ROOM 4096             /* what fits into a pipe that polls writable: a page */

/* For reading (O_RDONLY) or writing (O_WRONLY). */
static bool is_open_for(int fd, int how) {
    int mode = libc(fcntl)(fd, F_GETFL);
    return mode >= 0 && !(mode & O_PATH) && ((mode & O_ACCMODE) == O_RDWR || (mode & O_ACCMODE) == how);
}

/* What sendfile() reads from: it can be positioned. */
static int check_file(int file, bool positioned) {
    struct stat about;
    if (!is_open_for(file, O_RDONLY))
        return -EBADF;
    if (libc(fstat)(file, &about) < 0)
        return -errno;
    if (S_ISREG(about.st_mode) || S_ISBLK(about.st_mode) || libc(lseek)(file, 0, SEEK_CUR) >= 0)
        return 0;
    return positioned ? -ESPIPE : -EINVAL;
}

/* From a socket Linux sends to a pipe only, and then it is splice(). */
static ssize_t send_socket(int to, int from, off_t *offset, size_t count) {
    if (libc(fcntl)(to, F_GETPIPE_SZ) < 0)
        return result(-EINVAL);
    return splice(from, offset, to, NULL, count, 0);
}

NEAT_API ssize_t sendfile(int to, int from, off_t *offset, size_t count) {
    struct neat_socket *source = fd_get(from), *s;
    if (source) {
        neat_put(source);
        return send_socket(to, from, offset, count);
    }
    s = fd_get(to);
    if (!s)
        return libc(sendfile)(to, from, offset, count);
    ssize_t n = neat_sendfile(s, to, from, offset, count < MOST_BYTES ? count : MOST_BYTES);
    /* What is wrong with the file comes first. */
    int status = n < 0 || !count ? check_file(from, offset) : 0;
    return sent(s, status < 0 ? status : n, 0);
}

NEAT_API ssize_t sendfile64(int to, int from, off64_t *offset, size_t count) {
    return sendfile(to, from, offset, count);
}

/* How many bytes wait in a pipe. */
static int pipe_bytes(int pipe) {
    int bytes = 0;
    return libc(ioctl)(pipe, FIONREAD, &bytes) < 0 ? -errno : bytes;
}

static bool wants_no_wait(int pipe, unsigned flags) {
    return (flags & SPLICE_F_NONBLOCK) || (libc(fcntl)(pipe, F_GETFL) & O_NONBLOCK);
}

/* Bytes that can be read from the pipe at once; 0 when all writers are gone. */
static int await_pipe_bytes(int pipe, bool wait) {
    for (;;) {
        int bytes = pipe_bytes(pipe);
        if (bytes)
            return bytes;
        int got = neat_poll(pipe, POLLIN, wait ? -1 : 0);
        if (got < 0)
            return got;
        if (!(got & POLLIN) && (got & POLLHUP))
            return 0;
        if (!got)
            return -EAGAIN;
    }
}

/* Bytes that the pipe is sure to take. */
static int await_pipe_room(int pipe, bool wait) {
    int got = neat_poll(pipe, POLLOUT, wait ? -1 : 0);
    if (got < 0)
        return got;
    if (got & POLLERR)
        return -EPIPE;
    if (!(got & POLLOUT))
        return -EAGAIN;
    return pipe_bytes(pipe) ? SURE_ROOM : libc(fcntl)(pipe, F_GETPIPE_SZ);
}

/* SPLICE_F_MORE is a hint that is not taken: Linux holds bytes back until the next acknowledgement, we
 * would for 200 ms. */
static ssize_t from_pipe(struct neat_socket *s, int fd, int pipe, size_t count, unsigned flags) {
    size_t done = 0;
    while (done < count) {
        ssize_t n = await_pipe_bytes(pipe, !done && !wants_no_wait(pipe, flags));
        if (n <= 0)
            return done ? (ssize_t)done : n;
        size_t part = (size_t)n < count - done ? (size_t)n : count - done;
        n = neat_splice_out(s, fd, pipe, part);
        if (n <= 0)
            return done ? (ssize_t)done : n;
        done += (size_t)n;
        if ((size_t)n < part)
            break;
    }
    return (ssize_t)done;
}

static ssize_t to_pipe(struct neat_socket *s, int fd, int pipe, size_t count, unsigned flags) {
    int room = await_pipe_room(pipe, !wants_no_wait(pipe, flags));
    if (room < 0)
        return room;
    return neat_splice_in(s, fd, pipe, (size_t)room < count ? (size_t)room : count);
}

NEAT_API ssize_t splice(int from, off64_t *from_offset, int to, off64_t *to_offset, size_t count,
                        unsigned flags) {
    struct neat_socket *source = fd_get(from), *target = source ? NULL : fd_get(to);
    if (!source && !target)
        return libc(splice)(from, from_offset, to, to_offset, count, flags);
    int pipe = source ? to : from;
    ssize_t n;
    if (count > MOST_BYTES)
        count = MOST_BYTES;
    if (flags & ~(unsigned)(SPLICE_F_MOVE | SPLICE_F_NONBLOCK | SPLICE_F_MORE | SPLICE_F_GIFT))
        n = -EINVAL;
    else if (!count)
        n = 0;
    else if (!is_open_for(pipe, source ? O_WRONLY : O_RDONLY))
        n = -EBADF;
    else if (libc(fcntl)(pipe, F_GETPIPE_SZ) < 0)
        n = -EINVAL;
    else if (from_offset || to_offset)
        n = (source ? to_offset : from_offset) ? -ESPIPE : -EINVAL;
    else
        n = source ? to_pipe(source, from, pipe, count, flags) : from_pipe(target, to, pipe, count, flags);
    return sent(source ? source : target, n, 0);
}
