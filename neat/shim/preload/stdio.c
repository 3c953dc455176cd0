/* Streams on sockets. What glibc's FILE does to a descriptor it does inside, past us; so a socket's FILE
 * gets functions of ours (fopencookie(3)), which call the interposed read, write and close. */
#include <stdio_ext.h>

#include "preload.h"

/* The cookie is the descriptor. */
static int number(void *cookie) {
    return (int)(intptr_t)cookie;
}

static ssize_t read_some(void *cookie, char *data, size_t length) {
    return read(number(cookie), data, length);
}

/* All of it, or the stream has an error. */
static ssize_t write_all(void *cookie, const char *data, size_t length) {
    size_t done = 0;
    while (done < length) {
        ssize_t n = write(number(cookie), data + done, length - done);
        if (n < 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

static int cannot_seek(void *cookie, off64_t *position, int whence) {
    (void)cookie, (void)position, (void)whence;
    errno = ESPIPE;
    return -1;
}

static int close_it(void *cookie) {
    return close(number(cookie));
}

/* Ours, or an Internet socket that may become ours. */
static bool is_socket(int fd) {
    bool undecided;
    struct neat_socket *s = fd_get_any(fd, &undecided);
    if (s)
        neat_put(s);
    return s;
}

static FILE *open_stream(int fd, const char *mode) {
    static const cookie_io_functions_t functions = {read_some, write_all, cannot_seek, close_it};
    FILE *stream = fopencookie((void *)(intptr_t)fd, mode, functions);
    if (stream)
        stream->_fileno = fd;      /* for fileno(); glibc itself gets nowhere but through the functions */
    return stream;
}

NEAT_API FILE *fdopen(int fd, const char *mode) {
    return is_socket(fd) ? open_stream(fd, mode) : libc(fdopen)(fd, mode);
}

static int print(int fd, const char *format, va_list values) {
    char *text = NULL;
    int length = vasprintf(&text, format, values);
    if (length > 0 && write_all((void *)(intptr_t)fd, text, (size_t)length) < length)
        length = -1;
    int error = errno;
    free(text);
    errno = error;
    return length;
}

NEAT_API int vdprintf(int fd, const char *restrict format, va_list values) {
    return is_socket(fd) ? print(fd, format, values) : libc(vdprintf)(fd, format, values);
}

NEAT_API int dprintf(int fd, const char *restrict format, ...) {
    va_list values;
    va_start(values, format);
    int length = vdprintf(fd, format, values);
    va_end(values);
    return length;
}

/* `flag`: glibc then takes no %n from writable memory; on a socket that is not looked at. */
NEAT_API int __vdprintf_chk(int fd, int flag, const char *format, va_list values) {
    (void)flag;
    return vdprintf(fd, format, values);
}

NEAT_API int __dprintf_chk(int fd, int flag, const char *format, ...) {
    (void)flag;
    va_list values;
    va_start(values, format);
    int length = vdprintf(fd, format, values);
    va_end(values);
    return length;
}

/* The standard stream of that number, which is a socket now, becomes one that goes through the library,
 * and stays that: it serves any descriptor. What it had not written yet comes with it. */
void stdio_replace(int fd) {
    static const char *const modes[] = {"r", "w", "w"};
    FILE **const standard[] = {&stdin, &stdout, &stderr};
    static bool replaced[3];
    if (fd < 0 || fd > 2 || replaced[fd] || !is_socket(fd))
        return;
    FILE *old = *standard[fd], *stream = open_stream(fd, modes[fd]);
    if (!stream)
        return;
    if (fd == 2)
        setvbuf(stream, NULL, _IONBF, 0);
    if (fd == 1 && old && __fpending(old)) {
        fwrite(old->_IO_write_base, 1, __fpending(old), stream);
        __fpurge(old);
    }
    *standard[fd] = stream;
    replaced[fd] = true;
}

/* A program that was started with sockets as 0, 1 and 2 (inetd and its kind) talks to them with stdio. */
void stdio_adopt(void) {
    for (int fd = 0; fd < 3; fd++)
        stdio_replace(fd);
}
