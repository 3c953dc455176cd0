/* `neat run -v`: a line for each decision; and what was refused, told to `neat status` once for each kind. */
#include <stdarg.h>
#include <time.h>

#include "../options.h"
#include "../order.h"
#include "preload.h"

#define LINE 512
/* That are remembered as told; a program that does more tells some twice. */
#define KINDS 64

bool log_verbose;
static int log_fd = -1;            /* standard error as it was at the start: a daemon closes its own */
static uint64_t told[KINDS];
static uint32_t told_next;

AT_START(ORDER_LOG) void set_up_log(void) {
    const char *set = getenv("NEAT_VERBOSE");
    if (!set || !*set || !strcmp(set, "0"))
        return;
    int copy = libc(fcntl)(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    if (copy < 0)
        return;
    log_fd = neat_hide_fd(copy);
    neat_hold_own(&log_fd);
    log_verbose = true;
}

/* One write, so that lines of several processes do not mix. A reader who is gone ends the lines, not the
 * program. */
static void write_line(const char *line, size_t length) {
    sigset_t pipe_signal, before, pending;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
    sigpending(&pending);
    if (libc(write)(log_fd, line, length) < 0 && errno != EINTR && errno != EAGAIN) {
        log_verbose = false;
        if (errno == EPIPE && !sigismember(&pending, SIGPIPE))
            sigtimedwait(&pipe_signal, NULL, &(struct timespec){0, 0});
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* Keeps errno. */
void log_line(const char *format, ...) {
    char line[LINE];
    int kept = errno;
    if (!log_verbose)
        return;
    int start = snprintf(line, sizeof line / 2, "neat: %s[%d] ", program_invocation_short_name,
                         (int)getpid());
    if (start < 0 || start > LINE / 2 - 1)
        start = 0;
    va_list values;
    va_start(values, format);
    int length = vsnprintf(line + start, sizeof line - (size_t)start - 1, format, values);
    va_end(values);
    size_t end = strlen(line);
    line[end] = '\n';
    if (length >= 0)
        write_line(line, end + 1);
    errno = kept;
}

/* Whether this kind was told already; it is from now on. */
static bool told_before(uint64_t kind) {
    for (int i = 0; i < KINDS; i++)
        if (__atomic_load_n(&told[i], __ATOMIC_RELAXED) == kind)
            return true;
    uint32_t at = __atomic_fetch_add(&told_next, 1, __ATOMIC_RELAXED) % KINDS;
    __atomic_store_n(&told[at], kind, __ATOMIC_RELAXED);
    return false;
}

void log_refused(enum neat_refusal kind, int level, int name) {
    static const char *const kinds[] = {"?", "setsockopt", "getsockopt", "flags", "control message", "ioctl"};
    struct neat_msg message = {.op = NEAT_OP_REFUSED, .u = {(uint32_t)kind, (uint32_t)level, (uint32_t)name}};
    int kept = errno;
    if (told_before((uint64_t)kind << 56 | ((uint64_t)(uint32_t)level & 0xffffff) << 32 | (uint32_t)name))
        return;
    log_line("refused: %s level %d name %d (%#x)", kinds[kind <= NEAT_REFUSED_IOCTL ? kind : 0], level, name,
             (unsigned)name);
    strncpy((char *)&message.u[4], program_invocation_short_name, 15);
    neat_tell(&message);
    errno = kept;
}

AT_START(ORDER_HOOKS) void listen_to_refusals(void) {
    neat_on_refusal = log_refused;
}
