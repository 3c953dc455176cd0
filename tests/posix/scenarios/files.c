/* sendfile and splice. */
#include "scenario.h"

#include <sys/sendfile.h>

static int file_of(size_t length) {
    char path[] = "/tmp/scenario-XXXXXX";
    int fd = mkstemp(path);
    unlink(path);
    for (size_t i = 0; i < length; i++)
        if (pwrite(fd, &"abcdefghijklmnopqrstuvwxy0123456789"[i % 35], 1, i) != 1)
            give_up("write");
    return fd;
}

SCENARIO(sendfile_from_the_position) {
    int fd = connected(), file = file_of(20);
    STEP(sendfile(fd, file, NULL, 8));
    say("at %ld", (long)lseek(file, 0, SEEK_CUR));
    STEP(sendfile(fd, file, NULL, 100));
    STEP(sendfile(fd, file, NULL, 100));
    STEP(sendfile(fd, file, NULL, 0));
    shutdown(fd, SHUT_WR);
    peer("drain p");
    say("peer: %s", peer_text);
}

SCENARIO(sendfile_from_an_offset) {
    int fd = connected(), file = file_of(70);
    off_t offset = 35;
    STEP(sendfile(fd, file, &offset, 10));
    say("offset %ld, at %ld", (long)offset, (long)lseek(file, 0, SEEK_CUR));
    offset = 45;
    STEP(sendfile(fd, file, &offset, 100));
    say("offset %ld", (long)offset);
    STEP(sendfile(fd, file, &offset, 100));
    offset = -1;
    STEP(sendfile(fd, file, &offset, 100));
    shutdown(fd, SHUT_WR);
    peer("drain p");
    say("peer: %s", peer_text);
}

SCENARIO(sendfile_errors) {
    int fd = connected(), file = file_of(20), pipes[2];
    if (pipe(pipes))
        give_up("pipe");
    catch_signal(SIGPIPE, 0);
    STEP(sendfile(fd, -1, NULL, 8));
    STEP(sendfile(-1, file, NULL, 8));
    STEP(sendfile(tcp(), file, NULL, 8));
    STEP(sendfile(file, fd, NULL, 8));
    off_t offset = 0;
    STEP(sendfile(fd, pipes[0], &offset, 8));
    int closed = open("/dev/null", O_WRONLY);
    STEP(sendfile(fd, closed, NULL, 8));
    say("caught %d", caught);
    shutdown(fd, SHUT_WR);
    STEP(sendfile(fd, file, NULL, 8));
    say("caught %d", caught);
}

SCENARIO(sendfile_when_full) {
    int fd = connected();
    char path[] = "/tmp/scenario-XXXXXX";
    int file = mkstemp(path);
    unlink(path);
    if (ftruncate(file, 64 << 20))
        give_up("ftruncate");
    nonblocking(fd);
    long total = 0, n;
    off_t offset = 0;
    while ((n = sendfile(fd, file, &offset, 64 << 20)) > 0)
        total += n;
    say("%s, all that it says: %d", errno_name(errno), total > 0 && total == offset);
    peer("take p %ld", total);
    SETTLED(fd, POLLOUT, POLLOUT);
}

SCENARIO(sendfile_a_lot) {
    int fd = connected(), file = file_of(35 * 1000);
    pid_t child = fork();
    if (child == 0) {
        long total = 0;
        for (int i = 0; i < 40; i++) {
            off_t offset = 0;
            while (offset < 35 * 1000) {
                long n = sendfile(fd, file, &offset, 35 * 1000);
                if (n <= 0)
                    _exit(1);
                total += n;
            }
        }
        _exit(total == 40 * 35 * 1000 ? 0 : 2);
    }
    close(fd);
    say("%ld", peer("drain p"));
    say("peer: %s", peer_text);
    reap(child);
}

SCENARIO(sendfile_to_a_file_and_a_pipe) {
    int file = file_of(20), other = file_of(0), pipes[2];
    if (pipe(pipes))
        give_up("pipe");
    STEP(sendfile(other, file, NULL, 8));
    STEP(sendfile(pipes[1], file, NULL, 8));
}

SCENARIO(splice_both_ways) {
    int fd = connected(), pipes[2];
    char data[16];
    if (pipe(pipes))
        give_up("pipe");
    peer("send p hello");
    STEP(splice(fd, NULL, pipes[1], NULL, 100, 0));
    STEP(read(pipes[0], data, sizeof data));
    say("%s", bytes(data, 5));
    STEP(write(pipes[1], "answer", 6));
    STEP(splice(pipes[0], NULL, fd, NULL, 100, 0));
    peer("recv p 6");
    nonblocking(fd);
    STEP(splice(fd, NULL, pipes[1], NULL, 100, SPLICE_F_NONBLOCK));
    peer("close p");
    SETTLED(fd, POLLIN | POLLRDHUP, POLLRDHUP);
    STEP(splice(fd, NULL, pipes[1], NULL, 100, 0));
}

SCENARIO(splice_errors) {
    int fd = connected(), other = connected(), pipes[2];
    off_t offset = 0;
    if (pipe(pipes))
        give_up("pipe");
    STEP(splice(fd, NULL, other, NULL, 10, 0));
    STEP(splice(fd, &offset, pipes[1], NULL, 10, 0));
    STEP(splice(pipes[0], NULL, fd, &offset, 10, 0));
    STEP(splice(fd, NULL, pipes[0], NULL, 10, 0));
    STEP(splice(-1, NULL, fd, NULL, 10, 0));
    STEP(tee(fd, pipes[1], 10, 0));
    struct iovec one = {"x", 1};
    STEP(vmsplice(fd, &one, 1, 0));
    STEP(copy_file_range(fd, NULL, other, NULL, 10, 0));
}
