/* Descriptors used by several threads. */
#include "scenario.h"

static int shared;

static void *read_once(void *unused) {
    static _Thread_local char data[8];
    (void)unused;
    long n = read(shared, data, sizeof data);
    return (void *)(n < 0 ? -(long)errno : n);
}

static void *accept_once(void *unused) {
    (void)unused;
    int fd = accept(shared, NULL, NULL);
    return (void *)(fd < 0 ? -(long)errno : 1l);
}

static void say_result(pthread_t thread) {
    void *value;
    pthread_join(thread, &value);
    long n = (long)value;
    say("thread: %s", n < 0 ? errno_name((int)-n) : n ? "something" : "0");
}

SCENARIO(shutdown_wakes_a_reader) {
    pthread_t thread;
    shared = connected();
    pthread_create(&thread, NULL, read_once, NULL);
    pause_ms(50);
    STEP(shutdown(shared, SHUT_RD));
    say_result(thread);
}

SCENARIO(shutdown_wakes_an_acceptor) {
    pthread_t thread;
    shared = listener(5);
    pthread_create(&thread, NULL, accept_once, NULL);
    pause_ms(50);
    STEP(shutdown(shared, SHUT_RDWR));
    say_result(thread);
}

/* close() does not wake a reader (close(2), "Multithreaded processes"); what arrives still reaches it. */
SCENARIO(close_under_a_reader) {
    pthread_t thread;
    shared = connected();
    pthread_create(&thread, NULL, read_once, NULL);
    pause_ms(50);
    STEP(close(shared));
    int null = open("/dev/null", O_RDONLY);
    say("the number is free: %d", null == shared);
    peer("send p x");
    say_result(thread);
    peer("gone p");
    say("peer: %s", peer_text);
}

SCENARIO(two_readers) {
    pthread_t threads[2];
    shared = connected();
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, read_once, NULL);
    pause_ms(50);
    peer("send p x");
    pause_ms(50);
    peer("send p y");
    for (int i = 0; i < 2; i++)
        say_result(threads[i]);
}

SCENARIO(several_acceptors) {
    pthread_t threads[4];
    shared = listener(8);
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, accept_once, NULL);
    for (int i = 0; i < 4; i++)
        peer("connect p%d %d", i, port_of(shared));
    for (int i = 0; i < 4; i++)
        say_result(threads[i]);
}

static void *write_many(void *letter) {
    char data[100];
    memset(data, *(char *)letter, sizeof data);
    for (int i = 0; i < 200; i++)
        if (write(shared, data, sizeof data) != sizeof data)
            return (void *)-1l;
    return NULL;
}

SCENARIO(writers_do_not_mix_small_writes) {
    pthread_t threads[2];
    shared = connected();
    pthread_create(&threads[0], NULL, write_many, "a");
    pthread_create(&threads[1], NULL, write_many, "b");
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    bool whole = true;
    for (int i = 0; i < 400; i++) {
        peer("recv p 100");
        for (int at = 1; at < 100; at++)
            whole = whole && peer_text[1 + at] == peer_text[1];
    }
    say("each whole: %d", whole);
}

SCENARIO(made_in_one_used_in_another) {
    pthread_t thread;
    shared = accepted();
    peer("send p x");
    pthread_create(&thread, NULL, read_once, NULL);
    say_result(thread);
    STEP(close(shared));
}

static void *churn(void *unused) {
    (void)unused;
    for (int i = 0; i < 300; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0), copy = dup(fd);
        close(fd);
        close(copy);
    }
    return NULL;
}

SCENARIO(sockets_made_and_closed_at_once) {
    pthread_t threads[4];
    int first = tcp();
    close(first);
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, churn, NULL);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    say("none is left open: %d", tcp() == first);
}

static void *reader_forever(void *unused) {
    char data[8];
    (void)unused;
    while (read(shared, data, sizeof data) > 0)
        ;
    return NULL;
}

/* The end of the process does not wait for a thread in a call. */
SCENARIO(exit_with_a_thread_in_read) {
    pthread_t thread;
    shared = connected();
    pthread_create(&thread, NULL, reader_forever, NULL);
    pause_ms(50);
    say("leaving");
}

static void *cancelled(void *unused) {
    return read_once(unused);
}

SCENARIO(cancelled_in_read) {
    pthread_t thread;
    void *value;
    shared = connected();
    pthread_create(&thread, NULL, cancelled, NULL);
    pause_ms(50);
    STEP(pthread_cancel(thread));
    pthread_join(thread, &value);
    say("%d", value == PTHREAD_CANCELED);
    peer("send p x");
    char data[8];
    STEP(read(shared, data, sizeof data));
}
