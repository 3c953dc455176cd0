#include "scenario.h"

#include <stdarg.h>
#include <sys/un.h>
#include <time.h>

#define PATIENCE_MS 5000
#define CONTROL_FD 200             /* out of the way of the scenario's numbers */

static struct scenario *scenarios;
static struct {
    const char *name;
    int (*run)(int argc, char **argv);
} programs[16];
static const char *path;
static int control = -1;
static pid_t first;                /* the process that runs the scenario; 0 in a program */
char peer_text[1 << 16];
volatile sig_atomic_t caught;

void scenario_add(struct scenario *s) {
    s->next = scenarios;
    scenarios = s;
}

void scenario_program(const char *name, int (*run)(int argc, char **argv)) {
    int i = 0;
    while (programs[i].name)
        i++;
    programs[i].name = name;
    programs[i].run = run;
}

const char *self(void) {
    return path;
}

void give_up(const char *what) {
    say("cannot go on: %s: %s", what, errno_name(errno));
    exit(3);
}

/* One write a line: processes and threads share the transcript. What others than the first process say is
 * marked. */
void say(const char *format, ...) {
    char line[4096];
    va_list values;
    int mark = getpid() == first ? 0 : sprintf(line, "| ");
    va_start(values, format);
    int n = mark + vsnprintf(line + mark, sizeof line - 1 - mark, format, values);
    va_end(values);
    if (n > (int)sizeof line - 2)
        n = sizeof line - 2;
    line[n] = '\n';
    if (write(STDOUT_FILENO, line, n + 1) != n + 1)
        _exit(3);
}

long step(const char *what, long value, int error, bool opens) {
    if (value == -1)
        say("%s: -1 %s", what, errno_name(error));
    else if (opens)
        say("%s: a descriptor", what);
    else
        say("%s: %ld", what, value);
    errno = error;
    return value;
}

const char *errno_name(int error) {
    const char *name = strerrorname_np(error);
    return name ? name : "?";
}

const char *bytes(const void *data, long length) {
    static _Thread_local char out[1024];
    char *at = out;
    *at++ = '"';
    for (long i = 0; i < length && at < out + sizeof out - 8; i++) {
        unsigned char c = ((const unsigned char *)data)[i];
        at += sprintf(at, c >= ' ' && c < 127 ? "%c" : "\\x%02x", c);
    }
    strcpy(at, "\"");
    return out;
}

struct bit {
    uint32_t bit;
    const char *name;
};

static const char *bit_names(uint32_t events, const struct bit *bits) {
    static _Thread_local char out[256];
    char *at = out;
    *at = 0;
    for (; bits->name; bits++)
        if (events & bits->bit) {
            at += sprintf(at, "%s%s", at > out ? "|" : "", bits->name);
            events &= ~bits->bit;
        }
    if (events)
        sprintf(at, "|%#x", events);
    return *out ? out : "nothing";
}

const char *poll_names(int events) {
    static const struct bit bits[] = {{POLLIN, "IN"},         {POLLOUT, "OUT"},       {POLLPRI, "PRI"},
                                      {POLLERR, "ERR"},       {POLLHUP, "HUP"},       {POLLRDHUP, "RDHUP"},
                                      {POLLNVAL, "NVAL"},     {POLLRDNORM, "RDNORM"}, {POLLWRNORM, "WRNORM"},
                                      {POLLRDBAND, "RDBAND"}, {POLLWRBAND, "WRBAND"}, {0, NULL}};
    return bit_names((uint32_t)events, bits);
}

const char *epoll_names(uint32_t events) {
    return poll_names((int)events);            /* the bits are the same */
}

const char *name_of(const struct sockaddr *address, socklen_t length) {
    static char outs[4][128];                  /* several in one line */
    static int turn;
    char *out = outs[turn++ % 4];
    char host[INET6_ADDRSTRLEN] = "?";
    const struct sockaddr_in *in = (const struct sockaddr_in *)address;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;
    if (length < sizeof in->sin_family) {
        sprintf(out, "nothing (%u)", length);
    } else if (address->sa_family == AF_INET) {
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
        sprintf(out, "%s:%s (%u)", host, in->sin_port ? "port" : "0", length);
    } else if (address->sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
        sprintf(out, "[%s]:%s (%u)", host, in6->sin6_port ? "port" : "0", length);
    } else {
        sprintf(out, "family %d (%u)", address->sa_family, length);
    }
    return out;
}

static const char *name_by(int (*call)(int, struct sockaddr *, socklen_t *), int fd) {
    struct sockaddr_storage address = {0};
    socklen_t length = sizeof address;
    return call(fd, SA(address), &length) < 0 ? errno_name(errno) : name_of(SA(address), length);
}

static int get_local(int fd, struct sockaddr *address, socklen_t *length) {
    return getsockname(fd, address, length);
}

static int get_remote(int fd, struct sockaddr *address, socklen_t *length) {
    return getpeername(fd, address, length);
}

const char *local_name(int fd) {
    return name_by(get_local, fd);
}

const char *remote_name(int fd) {
    return name_by(get_remote, fd);
}

static void call_peer(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *where = getenv("SCENARIO_PEER");
    snprintf(address.sun_path, sizeof address.sun_path, "%s", where ? where : "");
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, IN(address)) < 0)
        give_up("no peer");
    control = fcntl(fd, F_DUPFD_CLOEXEC, CONTROL_FD);
    close(fd);
}

/* An answer is `VALUE TEXT\n`; VALUE is a number, or the name of an errno. */
long peer(const char *format, ...) {
    char line[4096];
    va_list values;
    va_start(values, format);
    int n = vsnprintf(line, sizeof line - 1, format, values);
    va_end(values);
    line[n++] = '\n';
    if (control < 0)
        call_peer();
    if (write(control, line, n) != n)
        give_up("the peer is gone");
    n = 0;
    do {
        if (n == (int)sizeof peer_text - 1 || read(control, &peer_text[n], 1) != 1)
            give_up("the peer is gone");
    } while (peer_text[n++] != '\n');
    peer_text[n - 1] = 0;
    if (peer_text[0] == 'E') {
        line[strcspn(line, "\n")] = 0;
        say("peer %.*s: %s", (int)strcspn(line, " "), line, peer_text);
        return -1;
    }
    char *rest;
    long value = strtol(peer_text, &rest, 10);
    memmove(peer_text, *rest ? rest + 1 : rest, strlen(rest) + 1);
    return value;
}

struct sockaddr_in local_address(const char *host, int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, host, &address.sin_addr);
    return address;
}

struct sockaddr_in subject_address(int port) {
    return local_address("10.77.0.2", port);
}

struct sockaddr_in peer_address(int port) {
    return local_address("10.77.0.1", port);
}

int port_of(int fd) {
    struct sockaddr_storage address = {0};
    socklen_t length = sizeof address;
    if (getsockname(fd, SA(address), &length) < 0)
        give_up("getsockname");
    return ntohs(((struct sockaddr_in *)&address)->sin_port);   /* at the same place in sockaddr_in6 */
}

int tcp(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return fd < 0 ? give_up("socket"), -1 : fd;
}

int udp(void) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    return fd < 0 ? give_up("socket"), -1 : fd;
}

int listener(int backlog) {
    int fd = tcp();
    struct sockaddr_in address = subject_address(0);
    if (bind(fd, IN(address)) < 0 || listen(fd, backlog) < 0)
        give_up("listener");
    return fd;
}

int accept_one(int listening, const char *name) {
    peer("connect %s %d", name, port_of(listening));
    int fd = accept(listening, NULL, NULL);
    return fd < 0 ? give_up("accept"), -1 : fd;
}

int accepted(void) {
    int listening = listener(5), fd = accept_one(listening, "p");
    close(listening);
    return fd;
}

int connected(void) {
    int fd = tcp();
    struct sockaddr_in address = peer_address(peer("listen l"));
    if (connect(fd, IN(address)) < 0)
        give_up("connect");
    peer("accept p l");
    peer("close l");
    return fd;
}

int udp_connected(void) {
    int fd = udp();
    struct sockaddr_in address = peer_address(peer("udp p"));
    if (connect(fd, IN(address)) < 0)
        give_up("connect");
    return fd;
}

void pause_ms(int ms) {
    struct timespec left = MSEC(ms);
    while (nanosleep(&left, &left) < 0 && errno == EINTR)
        ;
}

int settled(int fd, int events, int wanted) {
    struct pollfd p = {.fd = fd, .events = events};
    for (int waited = 0; waited < PATIENCE_MS; waited += 5) {
        p.revents = 0;
        if (poll(&p, 1, 0) > 0 && (p.revents & wanted) == wanted)
            break;
        pause_ms(5);
    }
    return p.revents;
}

void nonblocking(int fd) {
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

long read_all(int fd, void *data, size_t length) {
    size_t done = 0;
    while (done < length) {
        long n = read(fd, (char *)data + done, length - done);
        if (n <= 0)
            return done ? (long)done : n;
        done += n;
    }
    return done;
}

static void count(int number) {
    (void)number;
    caught++;
}

void catch_signal(int number, int flags) {
    struct sigaction action = {.sa_handler = count, .sa_flags = flags};
    sigaction(number, &action, NULL);
}

void interrupt_after(int ms) {
    struct itimerval timer = {.it_value = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000}};
    setitimer(ITIMER_REAL, &timer, NULL);
}

int reap(pid_t pid) {
    int status;
    if (waitpid(pid, &status, 0) != pid)
        say("waitpid: %s", errno_name(errno));
    else if (WIFSIGNALED(status))
        say("child: SIG%s", sigabbrev_np(WTERMSIG(status)));
    else
        say("child: exit %d", WEXITSTATUS(status));
    return status;
}

int main(int argc, char **argv) {
    path = argv[0];
    const char *name = argc > 1 ? argv[1] : "";
    for (int i = 0; programs[i].name; i++)
        if (strcmp(programs[i].name, name) == 0)
            return programs[i].run(argc - 1, argv + 1);
    for (struct scenario *s = scenarios; s; s = s->next)
        if (strcmp(s->name, name) == 0) {
            first = getpid();
            s->run();
            return 0;
        }
    fprintf(stderr, "%s: no scenario %s\n", path, name);
    return 2;
}
