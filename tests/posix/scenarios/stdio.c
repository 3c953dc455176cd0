/* stdio on connections. */
#include "scenario.h"

SCENARIO(stream_both_ways) {
    int fd = connected();
    FILE *stream = fdopen(fd, "r+");
    char line[64];
    say("%d", fileno(stream) == fd);
    setvbuf(stream, NULL, _IOLBF, 0);
    say("%d", fprintf(stream, "hello %d\n", 42));
    fflush(stream);
    peer("recv p 9");
    say("peer: %s", peer_text);
    peer("send p one line\\n");
    peer("push p 30");
    fgets(line, 9, stream);
    say("%s", bytes(line, strlen(line)));
    STEP(fclose(stream));
    peer("gone p");
    say("peer: %s", peer_text);
    STEP(fcntl(fd, F_GETFD));
}

SCENARIO(reader_and_writer) {
    int fd = accepted();
    FILE *in = fdopen(fd, "r"), *out = fdopen(dup(fd), "w");
    char data[200];
    fputs("buffered", out);
    STEP(fflush(out));
    peer("recv p 8");
    say("peer: %s", peer_text);
    peer("push p 100");
    peer("shut p w");
    say("%zu, end %d, error %d", fread(data, 1, 200, in), feof(in), ferror(in));
    STEP(getc(in));
    STEP(fseek(out, 0, SEEK_SET));
    STEP(ftell(out));
    STEP(fclose(in));
    fputs("more", out);
    STEP(fclose(out));
    peer("drain p");
    say("peer: %s", peer_text);
}

SCENARIO(lines) {
    int fd = connected();
    FILE *stream = fdopen(fd, "r");
    char *line = NULL;
    size_t room = 0;
    peer("push p 70");
    peer("close p");
    STEP(getline(&line, &room, stream));
    STEP(getline(&line, &room, stream));
    say("end %d", feof(stream));
}

SCENARIO(reset_is_an_error) {
    int fd = connected();
    FILE *stream = fdopen(fd, "r+");
    peer("reset p");
    STEP(getc(stream));
    say("end %d, error %d", feof(stream), ferror(stream));
}

SCENARIO(printed_to_the_descriptor) {
    int fd = connected();
    STEP(dprintf(fd, "%s %d", "number", 7));
    peer("recv p 8");
    say("peer: %s", peer_text);
}

SCENARIO(large_through_a_stream) {
    int fd = connected();
    static char data[35 * 1000];
    for (int i = 0; i < (int)sizeof data; i++)
        data[i] = "abcdefghijklmnopqrstuvwxy0123456789"[i % 35];
    pid_t child = fork();
    if (child == 0) {
        FILE *stream = fdopen(fd, "w");
        size_t n = 0;
        for (int i = 0; i < 20; i++)
            n += fwrite(data, 1, sizeof data, stream);
        exit(fclose(stream) == 0 && n == 20 * sizeof data ? 0 : 1);
    }
    close(fd);
    say("%ld", peer("drain p"));
    say("peer: %s", peer_text);
    reap(child);
}

SCENARIO(exit_flushes) {
    int fd = connected();
    pid_t child = fork();
    if (child == 0) {
        FILE *stream = fdopen(fd, "w");
        fputs("flushed", stream);
        exit(0);
    }
    close(fd);
    peer("recv p 7");
    say("peer: %s", peer_text);
    reap(child);
}

SCENARIO(dup_of_a_stream) {
    int fd = connected();
    fflush(stdout);
    int saved = dup(1);
    dup2(fd, 1);
    printf("printed\n");
    fflush(stdout);
    dup2(saved, 1);
    peer("recv p 8");
    say("peer: %s", peer_text);
}
