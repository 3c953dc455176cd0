/* fork, descriptors passed on, and what signals leave. */
#include "scenario.h"

SCENARIO(child_uses_the_parents_connection) {
    int fd = connected();
    pid_t child = fork();
    if (child == 0) {
        char data[8];
        STEP(read(fd, data, sizeof data));
        STEP(write(fd, "child", 5));
        _exit(0);
    }
    peer("send p hello");
    peer("recv p 5");
    say("peer: %s", peer_text);
    reap(child);
    STEP(write(fd, "parent", 6));
    peer("recv p 6");
    say("peer: %s", peer_text);
}

SCENARIO(parent_closes_and_the_child_goes_on) {
    int fd = accepted(), gate[2];
    if (pipe(gate))
        give_up("pipe");
    pid_t child = fork();
    if (child == 0) {
        char data[8];
        read(gate[0], data, 1);
        STEP(write(fd, "on", 2));
        STEP(read(fd, data, sizeof data));
        STEP(read(fd, data, sizeof data));
        _exit(0);
    }
    STEP(close(fd));
    write(gate[1], "x", 1);
    peer("recv p 2");
    say("peer: %s", peer_text);
    peer("send p more");
    peer("shut p w");
    reap(child);
    peer("gone p");
    say("peer: %s", peer_text);
}

SCENARIO(child_closes_and_the_parent_goes_on) {
    int fd = accepted();
    pid_t child = fork();
    if (child == 0)
        _exit(close(fd));
    reap(child);
    STEP(write(fd, "parent", 6));
    peer("recv p 6");
    say("peer: %s", peer_text);
    STEP(close(fd));
    peer("gone p");
    say("peer: %s", peer_text);
}

/* shutdown() is of the connection, whoever else has it. */
SCENARIO(shutdown_in_a_child) {
    int fd = connected();
    pid_t child = fork();
    if (child == 0)
        _exit(shutdown(fd, SHUT_WR));
    reap(child);
    peer("drain p");
    say("peer: %s", peer_text);
    STEP(send(fd, "x", 1, MSG_NOSIGNAL));
}

SCENARIO(forking_server) {
    int fd = listener(16);
    pid_t children[4];
    for (int i = 0; i < 4; i++) {
        int one = accept_one(fd, "p");
        children[i] = fork();
        if (children[i] == 0) {
            char data[16];
            close(fd);
            long n = read(one, data, sizeof data);
            write(one, data, n);
            _exit(0);
        }
        close(one);
        peer("send p echo %d", i);
        peer("recv p 6");
        say("peer: %s", peer_text);
        peer("gone p");
        say("peer: %s", peer_text);
        reap(children[i]);
    }
}

SCENARIO(prefork_accept) {
    int fd = listener(16);
    pid_t children[3];
    for (int i = 0; i < 3; i++) {
        children[i] = fork();
        if (children[i] == 0)
            for (char data[16];;) {
                int one = accept(fd, NULL, NULL);
                long n = read(one, data, sizeof data);
                if (n <= 0)
                    _exit(n < 0);
                write(one, data, n);
                close(one);
            }
    }
    for (int i = 0; i < 12; i++) {
        peer("connect p %d", port_of(fd));
        peer("send p %d", i);
        peer("recv p %d", i > 9 ? 2 : 1);
        say("peer: %s", peer_text);
        peer("close p");
    }
    kill(children[0], SIGKILL);
    reap(children[0]);
    for (int i = 0; i < 4; i++) {
        peer("connect p %d", port_of(fd));
        peer("send p again");
        peer("recv p 5");
        say("peer: %s", peer_text);
        peer("close p");
    }
    for (int i = 1; i < 3; i++) {
        peer("connect p %d", port_of(fd));
        peer("close p");
    }
    for (int i = 1; i < 3; i++)
        reap(children[i]);
}

SCENARIO(listener_of_a_dead_parent_goes_on) {
    int fd = listener(5), gate[2];
    if (pipe(gate))
        give_up("pipe");
    pid_t child = fork();
    if (child == 0) {
        pid_t grandchild = fork();
        if (grandchild)
            _exit(0);
        char data[8];
        read(gate[0], data, 1);
        int one = accept(fd, NULL, NULL);
        write(one, "alive", 5);
        close(
            fd); /* at exit the kernel lets go of the last descriptor first: the peer could come in between */
        _exit(0);
    }
    reap(child);
    int port = port_of(fd);
    close(fd);
    write(gate[1], "x", 1);
    peer("connect p %d", port);
    peer("recv p 5");
    say("peer: %s", peer_text);
    peer("gone p");
    peer("connect q %d", port);
}

SCENARIO(socket_made_before_fork_connected_after) {
    int fd = tcp();
    struct sockaddr_in to = peer_address(peer("listen l"));
    pid_t child = fork();
    if (child == 0) {
        STEP(connect(fd, IN(to)));
        STEP(write(fd, "child", 5));
        _exit(0);
    }
    reap(child);
    peer("accept p l");
    peer("recv p 5");
    say("peer: %s", peer_text);
    STEP(write(fd, "parent", 6));
}

SCENARIO(bound_in_the_parent_listening_in_the_child) {
    int fd = tcp();
    struct sockaddr_in any = subject_address(0);
    STEP(bind(fd, IN(any)));
    pid_t child = fork();
    if (child == 0) {
        STEP(listen(fd, 5));
        int one = accept_one(fd, "p");
        STEP(write(one, "child", 5));
        peer("recv p 5");
        say("peer: %s", peer_text);
        _exit(0);
    }
    reap(child);
    int one = accept_one(fd, "q");
    STEP(write(one, "parent", 6));
}

SCENARIO(killed_process_resets_or_ends_its_connections) {
    int fd = connected();
    int ready[2];
    if (pipe(ready))
        give_up("pipe");
    pid_t child = fork();
    if (child == 0) {
        write(ready[1], "x", 1);
        pause();
    }
    close(fd);
    read(ready[0], &fd, 1);
    kill(child, SIGKILL);
    reap(child);
    peer("gone p");
    say("peer: %s", peer_text);
}

SCENARIO(killed_while_it_writes) {
    int fd = connected();
    static char data[65536];
    pid_t child = fork();
    if (child == 0)
        for (;;)
            write(fd, data, sizeof data);
    peer("take p 1000000");
    kill(child, SIGKILL);
    reap(child);
    close(fd);
    peer("gone p");
    say("peer: %s", peer_text);
}

static int send_fd(int to, int fd) {
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    struct iovec one = {"f", 1};
    struct msghdr message = {.msg_iov = &one,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    struct cmsghdr *first = CMSG_FIRSTHDR(&message);
    *first = (struct cmsghdr){
        .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
    memcpy(CMSG_DATA(first), &fd, sizeof fd);
    return (int)sendmsg(to, &message, 0);
}

static int receive_fd(int from) {
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    char data;
    int fd = -1;
    struct iovec one = {&data, 1};
    struct msghdr message = {.msg_iov = &one,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    if (recvmsg(from, &message, 0) == 1 && CMSG_FIRSTHDR(&message))
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
    return fd;
}

SCENARIO(passed_over_a_unix_socket) {
    int fd = connected(), pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
        give_up("socketpair");
    pid_t child = fork();
    if (child == 0) {
        close(fd);
        int mine = OPENS(receive_fd(pair[1]));
        char data[8];
        STEP(read(mine, data, sizeof data));
        STEP(write(mine, "passed", 6));
        _exit(0);
    }
    STEP(send_fd(pair[0], fd));
    close(fd);
    peer("send p hello");
    peer("recv p 6");
    say("peer: %s", peer_text);
    reap(child);
    peer("gone p");
    say("peer: %s", peer_text);
}

SCENARIO(made_in_a_child_and_passed_back) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
        give_up("socketpair");
    int port = peer("listen l");
    pid_t child = fork();
    if (child == 0) {
        int fd = tcp();
        struct sockaddr_in to = peer_address(port);
        STEP(connect(fd, IN(to)));
        STEP(send_fd(pair[1], fd));
        _exit(0);
    }
    int fd = OPENS(receive_fd(pair[0]));
    reap(child);
    peer("accept p l");
    STEP(write(fd, "passed", 6));
    peer("recv p 6");
    say("peer: %s", peer_text);
    peer("send p back");
    char data[8];
    STEP(read(fd, data, sizeof data));
    say("%s", remote_name(fd));
}

SCENARIO(passed_to_oneself) {
    int fd = connected(), pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
        give_up("socketpair");
    STEP(send_fd(pair[0], fd));
    close(fd);
    int again = OPENS(receive_fd(pair[1]));
    STEP(write(again, "on", 2));
    peer("recv p 2");
    say("peer: %s", peer_text);
}

SCENARIO(listener_passed_over_a_unix_socket) {
    int fd = listener(5), pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
        give_up("socketpair");
    pid_t child = fork();
    if (child == 0) {
        close(fd);
        int mine = OPENS(receive_fd(pair[1]));
        int one = accept_one(mine, "p");
        STEP(write(one, "x", 1));
        peer("recv p 1");
        say("peer: %s", peer_text);
        _exit(0);
    }
    STEP(send_fd(pair[0], fd));
    close(fd);
    reap(child);
}

SCENARIO(daemon_goes_on) {
    int fd = listener(5), port = port_of(fd), gate[2];
    if (pipe(gate))
        give_up("pipe");
    pid_t child = fork();
    if (child == 0) {
        if (daemon(1, 1))
            _exit(1);
        int one = accept(fd, NULL, NULL);
        write(one, "daemon", 6);
        _exit(0);
    }
    close(fd);
    reap(child);
    peer("connect p %d", port);
    peer("recv p 6");
    say("peer: %s", peer_text);
}

SCENARIO(threads_and_fork) {
    int fd = connected();
    for (int i = 0; i < 20; i++) {
        pid_t child = fork();
        if (child == 0)
            _exit(write(fd, "x", 1) == 1 ? 0 : 1);
        int status;
        waitpid(child, &status, 0);
        if (status)
            say("child %d: %d", i, status);
    }
    say("%ld", peer("recv p 20"));
}

/* Has some of each, says so, and waits for its end. */
PROGRAM(victim) {
    int listening = listener(5), fd = connected(), datagrams = udp();
    struct sockaddr_in any = subject_address(0);
    bind(datagrams, IN(any));
    accept_one(listening, "q");
    if (fork() == 0)
        for (char data[8]; read(fd, data, sizeof data) > 0;)
            ;
    say("ready");
    pause();
    return 0;
}
