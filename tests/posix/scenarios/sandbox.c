/* Programs that give up every system call but those that they need (seccomp(2)), as sshd's child does before
 * it has authenticated anybody: one more would kill it. */
#include "scenario.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

/* What the transcript and its end need; read and write are all that is done with a socket. */
static const int least[] = {SYS_read, SYS_write, SYS_close, SYS_getpid, SYS_exit_group, SYS_futex, -1};
static const int polls[] = {SYS_poll, SYS_clock_nanosleep, -1};

static void allow(struct sock_filter *program, int *length, const int *calls) {
    for (; *calls >= 0; calls++) {
        program[(*length)++] =
            (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)*calls, 0, 1);
        program[(*length)++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    }
}

static void only(const int *calls, const int *more) {
    struct sock_filter program[64] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))};
    int length = 1;
    allow(program, &length, calls);
    if (more)
        allow(program, &length, more);
    program[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    struct sock_fprog filter = {(unsigned short)length, program};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) < 0)
        give_up("seccomp");
}

/* Until the end: lines of the peer's come back. */
static void serve(int fd) {
    char data[64];
    long n;
    while ((n = STEP(read(fd, data, sizeof data))) > 0)
        STEP(write(fd, data, n));
    STEP(read(fd, data, sizeof data));
    STEP(close(fd));
}

/* The child sleeps in read() when the peer sends, as likely as not. */
static void served_by_a_child(int fd) {
    pid_t child = fork();
    if (child == 0) {
        only(least, NULL);
        serve(fd);
        _exit(0);
    }
    close(fd);
    for (int i = 0; i < 5; i++) {
        pause_ms(10);
        peer("send p line%d", i);
        peer("recv p 5");
        say("peer: %s", peer_text);
    }
    peer("shut p w");
    peer("drain p");
    say("peer: %s", peer_text);
    reap(child);
}

SCENARIO(a_child_serves_what_was_accepted) {
    served_by_a_child(accepted());
}

SCENARIO(a_child_serves_what_was_connected) {
    served_by_a_child(connected());
}

SCENARIO(its_own_connection) {
    char data[8];
    int fd = accepted();
    only(least, NULL);
    peer("send p four");
    STEP(read(fd, data, 1));
    STEP(read_all(fd, data, 3));
    STEP(write(fd, "back", 4));
    peer("recv p 4");
    say("peer: %s", peer_text);
    peer("shut p w");
    STEP(read(fd, data, sizeof data));
    STEP(close(fd));
    peer("drain p");
    say("peer: %s", peer_text);
}

static void waits_by_poll(int fd) {
    char data[8];
    for (int i = 0; i < 20; i++) {
        peer("send p line%d", i % 10);
        SETTLED(fd, POLLIN, POLLIN);
        STEP(read(fd, data, sizeof data));
        POLL(fd, POLLIN, 0);
        STEP(write(fd, data, 5));
        peer("recv p 5");
        say("peer: %s", peer_text);
    }
    POLL(fd, POLLIN | POLLOUT, 0);
    peer("shut p w");
    SETTLED(fd, POLLIN | POLLRDHUP, POLLRDHUP);
    STEP(read(fd, data, sizeof data));
    STEP(close(fd));
}

SCENARIO(waits_by_poll_and_blocks) {
    int fd = accepted();
    only(least, polls);
    waits_by_poll(fd);
}

SCENARIO(waits_by_poll_and_does_not_block) {
    char data[8];
    int fd = connected();
    nonblocking(fd);
    only(least, polls);
    STEP(read(fd, data, sizeof data));
    waits_by_poll(fd);
}

SCENARIO(a_child_waits_by_poll) {
    int fd = accepted();
    nonblocking(fd);
    pid_t child = fork();
    if (child == 0) {
        char data[8];
        only(least, polls);
        STEP(read(fd, data, sizeof data));
        waits_by_poll(fd);
        _exit(0);
    }
    reap(child);
}

SCENARIO(is_reset) {
    char data[8];
    int fd = accepted();
    only(least, polls);
    peer("reset p");
    SETTLED(fd, POLLIN | POLLRDHUP, POLLHUP);
    STEP(read(fd, data, sizeof data));
    STEP(read(fd, data, sizeof data));
    POLL(fd, POLLIN | POLLOUT, 0);
    STEP(close(fd));
}
