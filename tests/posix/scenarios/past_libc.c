/* Calls that do not go by libc's names: by number, by a system call instruction, by another process that
 * shares the descriptors. A number that changes hands so is its new file's from then on. */
#include "scenario.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>

/* A system call that no library sees. */
static long direct(long number, long a, long b, long c, long d) {
#if defined(__x86_64__)
    register long r10 __asm__("r10") = d;
    long value;
    __asm__ volatile("syscall"
                     : "=a"(value)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
                     : "rcx", "r11", "memory");
    return value;
#else
    give_up("a system call instruction for this machine");
    return -1;
#endif
}

static int close_by_number(int fd) {
    return syscall(SYS_close, fd);
}

static int close_directly(int fd) {
    return direct(SYS_close, fd, 0, 0, 0);
}

static int close_it(void *fd) {
    return direct(SYS_close, (long)(intptr_t)fd, 0, 0, 0);
}

static int close_in_child(int fd) {
    static char stack[65536] __attribute__((aligned(16)));
    pid_t child = clone(close_it, stack + sizeof stack, CLONE_FILES | SIGCHLD, (void *)(intptr_t)fd);
    int status = -1;
    waitpid(child, &status, 0);
    return status;
}

static int file_with(const char *text) {
    char path[] = "/tmp/neat-scenario-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0 || pwrite(fd, text, strlen(text), 0) < 0)
        give_up("a file");
    unlink(path);
    return fd;
}

/* The peer's bytes are unread when the number goes to a file, which is then read and written. */
static void becomes_a_file(int (*close_somehow)(int fd)) {
    char data[64] = "";
    int fd = connected(), file;
    peer("send p the peer's");
    SETTLED(fd, POLLIN, POLLIN);
    STEP(close_somehow(fd));
    file = file_with("the file's own");
    say("the same number: %d", file == fd);
    STEP(read(file, data, sizeof data));
    say("%s", data);
    STEP(write(file, ", and more", 10));
    STEP(pread(file, data, sizeof data, 0));
    say("%s", data);
    peer("drain p");
    say("peer: %s", peer_text);
    STEP(lseek(file, 0, SEEK_SET));
    STEP(read(file, data, sizeof data));
    STEP(close(file));
    STEP(close(file));
}

SCENARIO(closed_by_number_becomes_a_file) {
    becomes_a_file(close_by_number);
}

SCENARIO(closed_directly_becomes_a_file) {
    becomes_a_file(close_directly);
}

SCENARIO(closed_in_a_child_that_shares_it_becomes_a_file) {
    becomes_a_file(close_in_child);
}

/* Nothing is unread: the peer sees an end, and what is written goes to the pipe. */
static void becomes_a_pipe(int (*close_somehow)(int fd)) {
    char data[16] = "";
    int fd = accepted(), ends[2];
    STEP(close_somehow(fd));
    STEP(pipe(ends));
    say("the same number: %d", ends[0] == fd || ends[1] == fd);
    STEP(write(ends[1], "in it", 5));
    POLL(ends[0], POLLIN, 0);
    STEP(read(ends[0], data, sizeof data));
    say("%s", data);
    nonblocking(ends[0]);
    STEP(read(ends[0], data, sizeof data));
    STEP(recv(ends[0], data, sizeof data, 0));
    STEP(send(ends[1], "x", 1, 0));
    peer("drain p");
    say("peer: %s", peer_text);
}

SCENARIO(closed_by_number_becomes_a_pipe) {
    becomes_a_pipe(close_by_number);
}

SCENARIO(closed_directly_becomes_a_pipe) {
    becomes_a_pipe(close_directly);
}

/* Nobody hears of either: the file is known by the socket that is over. */
SCENARIO(closed_and_opened_directly) {
    char data[32] = "";
    int fd = connected(), file;
    STEP(close_directly(fd));
    peer("drain p");
    say("peer: %s", peer_text);
    file = direct(SYS_openat, AT_FDCWD, (long)"/proc/self/comm", O_RDONLY, 0);
    say("the same number: %d", file == fd);
    STEP(read(file, data, sizeof data));
    say("%s", data);
    STEP(write(file, "x", 1));
    POLL(file, POLLIN | POLLOUT, 0);
    STEP(close(file));
}

static void resets(int (*close_somehow)(int fd)) {
    struct linger at_once = {1, 0};
    int fd = connected();
    STEP(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once));
    STEP(close_somehow(fd));
    peer("gone p");
    say("peer: %s", peer_text);
}

SCENARIO(linger_without_time_closed_by_number) {
    resets(close_by_number);
}

SCENARIO(linger_without_time_closed_directly) {
    resets(close_directly);
}

static int end_a_child_with(int fd) {
    pid_t child = fork();
    if (child == 0)
        pause();
    close(fd);
    kill(child, SIGKILL);
    return reap(child);
}

/* The last copy is that of a process which is killed. */
SCENARIO(linger_without_time_killed) {
    resets(end_a_child_with);
}

SCENARIO(a_copy_lives_on) {
    char data[8] = "";
    int fd = connected(), copy = dup(fd), file;
    STEP(close_directly(fd));
    file = file_with("file");
    say("the same number: %d", file == fd);
    STEP(write(file, "x", 1));
    STEP(write(copy, "still", 5));
    peer("recv p 5");
    say("peer: %s", peer_text);
    peer("send p yes");
    STEP(read(copy, data, 3));
    STEP(close(file));
    STEP(close(copy));
    peer("drain p");
    say("peer: %s", peer_text);
}

SCENARIO(an_accepted_socket_takes_the_number) {
    char data[8] = "";
    int fd = connected(), listening = listener(5);
    STEP(close_directly(fd));
    int next = accept_one(listening, "q");
    say("the same number: %d", next == fd);
    peer("send q new");
    STEP(read(next, data, 3));
    STEP(write(next, "new", 3));
    peer("recv q 3");
    say("peer: %s", peer_text);
    peer("drain p");
    say("peer: %s", peer_text);
}

SCENARIO(members_of_an_epoll_instance) {
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 7}, told = {0};
    char data[8];
    int fd = connected(), ep = epoll_create1(0), ends[2];
    STEP(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event));
    STEP(close_directly(fd));
    STEP(pipe(ends));
    say("the same number: %d", ends[0] == fd);
    STEP(epoll_ctl(ep, EPOLL_CTL_DEL, ends[0], NULL));
    STEP(write(ends[1], "x", 1));
    STEP(epoll_wait(ep, &told, 1, 0));
    event.data.u64 = 8;
    STEP(epoll_ctl(ep, EPOLL_CTL_ADD, ends[0], &event));
    STEP(epoll_wait(ep, &told, 1, 1000));
    say("%d", (int)told.data.u64);
    STEP(read(ends[0], data, sizeof data));
    STEP(epoll_wait(ep, &told, 1, 0));
}

/* What was put into an instance past libc is told, with the data that it has. */
SCENARIO(registered_directly) {
    static const uint64_t datas[] = {3,          0,
                                     UINT64_MAX, UINT64_C(0x7f1234567890),
                                     1ul << 63,  1ul << 32 | 9};
    struct epoll_event told[4] = {0};
    char data[8];
    for (int i = 0; i < 6; i++) {
        int fd = connected(), ep = epoll_create1(0), ends[2];
        struct epoll_event event = {.events = EPOLLIN, .data.u64 = datas[i]};
        struct epoll_event ours = {.events = EPOLLIN, .data.u64 = 1};
        pipe(ends);
        STEP(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ours));
        STEP(direct(SYS_epoll_ctl, ep, EPOLL_CTL_ADD, ends[0], (long)&event));
        STEP(epoll_wait(ep, told, 4, 0));
        STEP(write(ends[1], "x", 1));
        STEP(epoll_wait(ep, told, 4, 5000));
        say("%#lx: %s", (unsigned long)told[0].data.u64, epoll_names(told[0].events));
        STEP(epoll_ctl(ep, EPOLL_CTL_MOD, ends[0], &event));
        STEP(read(ends[0], data, sizeof data));
        STEP(epoll_wait(ep, told, 4, 0));
        peer("send p x");
        STEP(epoll_wait(ep, told, 4, 5000));
        say("%#lx: %s", (unsigned long)told[0].data.u64, epoll_names(told[0].events));
        STEP(epoll_ctl(ep, EPOLL_CTL_DEL, ends[0], NULL));
        close(ends[0]), close(ends[1]), close(ep), close(fd);
    }
}

SCENARIO(a_connection_by_number) {
    struct sockaddr_in to = peer_address(peer("listen l")), name = {0};
    socklen_t length = sizeof name;
    char data[16] = "";
    int fd = OPENS(syscall(SYS_socket, AF_INET, SOCK_STREAM, 0));
    STEP(syscall(SYS_connect, fd, &to, sizeof to));
    peer("accept p l");
    STEP(syscall(SYS_write, fd, "one", 3));
    STEP(syscall(SYS_sendto, fd, "two", 3, MSG_NOSIGNAL, NULL, 0));
    struct iovec parts[2] = {{"th", 2}, {"ree", 3}};
    STEP(syscall(SYS_writev, fd, parts, 2));
    peer("recv p 11");
    say("peer: %s", peer_text);
    STEP(syscall(SYS_getpeername, fd, &name, &length));
    say("%d %d", name.sin_family, name.sin_port == to.sin_port);
    peer("send p four");
    struct pollfd asked = {fd, POLLIN, 0};
    struct timespec limit = {60, 0};
    STEP(syscall(SYS_ppoll, &asked, 1, &limit, NULL, 0));
    say("%s, less time is left: %d", poll_names(asked.revents), limit.tv_sec < 60 && limit.tv_sec > 0);
    STEP(syscall(SYS_read, fd, data, 2));
    STEP(syscall(SYS_recvfrom, fd, data + 2, sizeof data, MSG_DONTWAIT, NULL, NULL));
    say("%s", data);
    STEP(syscall(SYS_recvfrom, fd, data, sizeof data, MSG_DONTWAIT, NULL, NULL));
    STEP(syscall(SYS_ppoll, &asked, 1, &limit, &limit, 5));
    limit = (struct timespec){0, 1000};
    STEP(syscall(SYS_ppoll, &asked, 1, &limit, NULL, 8));
    say("%ld %ld", (long)limit.tv_sec, limit.tv_nsec);
    int value = 0;
    length = sizeof value;
    STEP(syscall(SYS_getsockopt, fd, SOL_SOCKET, SO_DOMAIN, &value, &length));
    say("%d", value);
    STEP(syscall(SYS_fcntl, fd, F_SETFL, O_NONBLOCK));
    STEP(read(fd, data, sizeof data));
    int copy = OPENS(syscall(SYS_dup, fd));
    STEP(syscall(SYS_close, fd));
    STEP(syscall(SYS_close, fd));
    STEP(write(copy, "copy", 4));
    peer("recv p 4");
    say("peer: %s", peer_text);
    STEP(syscall(SYS_shutdown, copy, SHUT_WR));
    peer("gone p");
    say("peer: %s", peer_text);
}

SCENARIO(a_server_by_number) {
    struct sockaddr_in at = subject_address(0);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 4}, told = {0};
    char data[16] = "";
    int fd = OPENS(syscall(SYS_socket, AF_INET, SOCK_STREAM, 0));
    STEP(syscall(SYS_bind, fd, &at, sizeof at));
    STEP(syscall(SYS_listen, fd, 5));
    peer("connect p %d", port_of(fd));
    int served = OPENS(syscall(SYS_accept4, fd, NULL, NULL, SOCK_NONBLOCK));
    int ep = OPENS(syscall(SYS_epoll_create1, 0));
    STEP(syscall(SYS_epoll_ctl, ep, EPOLL_CTL_ADD, served, &event));
    STEP(syscall(SYS_epoll_pwait, ep, &told, 1, 0, NULL, 8));
    peer("send p x");
    STEP(syscall(SYS_epoll_pwait, ep, &told, 1, 5000, NULL, 8));
    say("%d %s", (int)told.data.u64, epoll_names(told.events));
    STEP(syscall(SYS_epoll_pwait, ep, &told, 1, 0, data, 5));
    STEP(syscall(SYS_read, served, data, sizeof data));
    STEP(syscall(SYS_close_range, fd, served, 0));
    peer("gone p");
    say("peer: %s", peer_text);
}

/* What is not about sockets has all its arguments, and its errno. */
SCENARIO(everything_else_passes) {
    int file = open("/proc/self/exe", O_RDONLY);
    char head[8] = "", *mapped;
    STEP(syscall(SYS_getppid) == getppid());
    STEP(syscall(100000, 1, 2, 3, 4, 5, 6));
    STEP(syscall(SYS_close, -1));
    mapped = (char *)syscall(SYS_mmap, NULL, 4096, PROT_READ, MAP_PRIVATE, file, 4096);
    STEP(pread(file, head, sizeof head, 4096));
    say("the sixth argument: %d", mapped != MAP_FAILED && memcmp(mapped, head, sizeof head) == 0);
    STEP(syscall(SYS_mmap, NULL, 4096, PROT_READ, MAP_PRIVATE, file, 1));
    pid_t child = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, 0);
    if (child == 0)
        _exit(5);
    reap(child);
}

static int close_and_exit(void *fd) {
    close((int)(intptr_t)fd);
    _exit(0);
}

static void goes_on(int fd, pid_t child) {
    reap(child);
    STEP(write(fd, "still", 5));
    peer("recv p 5");
    say("peer: %s", peer_text);
}

/* A copy of the process, not by fork(), closes what it was left: that is no end. Nor is it one when this
 * closes. */
SCENARIO(a_child_by_number_closes_its_copy) {
    int fd = connected();
    pid_t child = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, 0);
    if (child == 0)
        close_and_exit((void *)(intptr_t)fd);
    goes_on(fd, child);
}

SCENARIO(a_child_by_clone_closes_its_copy) {
    static char stack[65536] __attribute__((aligned(16)));
    int fd = connected();
    goes_on(fd, clone(close_and_exit, stack + sizeof stack, SIGCHLD, (void *)(intptr_t)fd));
}

static int answer(void *fd) {
    char data[8];
    long n = read((int)(intptr_t)fd, data, sizeof data);
    write((int)(intptr_t)fd, data, n);
    _exit(n == 5 ? 0 : 1);
}

SCENARIO(a_child_by_clone_has_the_last_copy) {
    static char stack[65536] __attribute__((aligned(16)));
    int fd = connected();
    pid_t child = clone(answer, stack + sizeof stack, SIGCHLD, (void *)(intptr_t)fd);
    STEP(close(fd));
    peer("send p still");
    peer("recv p 5");
    say("peer: %s", peer_text);
    reap(child);
    peer("drain p");
    say("peer: %s", peer_text);
}
