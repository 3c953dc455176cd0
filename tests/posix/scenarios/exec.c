/* exec, posix_spawn, vfork, system: sockets in a program that is started. */
#include "scenario.h"

#include <spawn.h>

extern char **environ;

/* argv: descriptor. Answers on it. */
PROGRAM(user) {
    int fd = atoi(argv[1]);
    char data[16];
    long n = read(fd, data, sizeof data);
    say("%s", n < 0 ? errno_name(errno) : bytes(data, n));
    say("%s, %s", local_name(fd), remote_name(fd));
    say("%ld", (long)write(fd, "from the program", 16));
    return 0;
}

static const char *number(int fd) {
    static char text[16];
    sprintf(text, "%d", fd);
    return text;
}

SCENARIO(exec_keeps) {
    int fd = connected();
    pid_t child = fork();
    if (child == 0) {
        execl(self(), self(), "=user", number(fd), NULL);
        _exit(9);
    }
    close(fd);
    peer("send p hello");
    reap(child);
    peer("recv p 16");
    say("peer: %s", peer_text);
    peer("gone p");
    say("peer: %s", peer_text);
}

SCENARIO(exec_closes_on_exec) {
    int fd = connected();
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    pid_t child = fork();
    if (child == 0) {
        execl(self(), self(), "=user", number(fd), NULL);
        _exit(9);
    }
    reap(child);
    STEP(write(fd, "mine", 4));
    peer("recv p 4");
    say("peer: %s", peer_text);
}

SCENARIO(exec_of_the_same_process) {
    int fd = connected();
    peer("send p hello");
    execv(self(), (char *[]){(char *)self(), "=user", (char *)number(fd), NULL});
}

SCENARIO(failed_exec_changes_nothing) {
    int fd = connected();
    STEP(execl("/nowhere", "nowhere", NULL));
    STEP(write(fd, "still", 5));
    peer("recv p 5");
    say("peer: %s", peer_text);
}

PROGRAM(server) {
    int fd = atoi(argv[1]), on = -1;
    socklen_t length = sizeof on;
    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &length);
    say("listening %d, %s", on, local_name(fd));
    int one = accept_one(fd, "p");
    say("%ld", (long)write(one, "served", 6));
    peer("recv p 6");
    say("peer: %s", peer_text);
    return 0;
}

SCENARIO(exec_keeps_a_listener) {
    int fd = listener(5);
    pid_t child = fork();
    if (child == 0) {
        execl(self(), self(), "=server", number(fd), NULL);
        _exit(9);
    }
    reap(child);
    int one = accept_one(fd, "q");
    STEP(write(one, "mine", 4));
}

/* argv: listener. What it and what it accepts have. */
PROGRAM(heir) {
    int fd = atoi(argv[1]), both[] = {fd, accept_one(fd, "p")};
    static const int options[][2] = {{IPPROTO_TCP, TCP_NODELAY},  {SOL_SOCKET, SO_KEEPALIVE},
                                     {IPPROTO_TCP, TCP_KEEPIDLE}, {IPPROTO_TCP, TCP_USER_TIMEOUT},
                                     {IPPROTO_IP, IP_TOS},        {IPPROTO_TCP, TCP_CORK},
                                     {SOL_SOCKET, SO_RCVLOWAT}};
    for (int i = 0; i < 2; i++)
        for (size_t k = 0; k < sizeof options / sizeof *options; k++) {
            int value = -1;
            socklen_t length = sizeof value;
            getsockopt(both[i], options[k][0], options[k][1], &value, &length);
            say("%s %zu: %d", i ? "accepted" : "listener", k, value);
        }
    return 0;
}

SCENARIO(exec_keeps_what_is_set_on_a_listener) {
    int fd = tcp(), one = 1, seconds = 77, tos = 0x10, low = 5;
    struct sockaddr_in any = subject_address(0);
    STEP(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one));
    STEP(bind(fd, IN(any)));
    STEP(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one));
    STEP(listen(fd, 5));
    STEP(setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof seconds));
    STEP(setsockopt(fd, IPPROTO_IP, IP_TOS, &tos, sizeof tos));
    STEP(setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &low, sizeof low));
    execv(self(), (char *[]){(char *)self(), "=heir", (char *)number(fd), NULL});
}

/* As nginx does when its program is replaced: the listener goes on in the new one. */
SCENARIO(exec_keeps_a_listener_and_the_parent_ends) {
    int fd = listener(5), done[2];
    if (pipe(done))
        give_up("pipe");
    pid_t child = fork();
    if (child == 0) {
        if (fork() == 0) {
            execl(self(), self(), "=server", number(fd), NULL);
            _exit(9);
        }
        _exit(0);
    }
    close(fd);
    close(done[1]);
    reap(child);
    char end;
    STEP(read(done[0], &end, 1));
}

SCENARIO(exec_keeps_a_datagram_socket) {
    int fd = udp();
    struct sockaddr_in any = subject_address(0), to = peer_address(peer("udp p"));
    bind(fd, IN(any));
    connect(fd, IN(to));
    peer("sendto p %d hello", port_of(fd));
    pid_t child = fork();
    if (child == 0) {
        execl(self(), self(), "=user", number(fd), NULL);
        _exit(9);
    }
    reap(child);
    peer("recvfrom p");
    say("peer: %s", peer_text);
}

SCENARIO(spawn_keeps) {
    int fd = connected();
    pid_t child;
    char *arguments[] = {(char *)self(), "=user", (char *)number(fd), NULL};
    peer("send p hello");
    STEP(posix_spawn(&child, self(), NULL, NULL, arguments, environ));
    reap(child);
    STEP(posix_spawn(&child, "/nowhere", NULL, NULL, arguments, environ));
}

SCENARIO(spawn_with_the_connection_as_standard_output) {
    int fd = connected();
    pid_t child;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fd, STDOUT_FILENO);
    char *arguments[] = {"sh", "-c", "echo spoken", NULL};
    STEP(posix_spawnp(&child, "sh", &actions, NULL, arguments, environ));
    reap(child);
    peer("recv p 7");
    say("peer: %s", peer_text);
}

/* inetd: the connection is standard input and output of a program that knows nothing of sockets. */
SCENARIO(connection_as_standard_streams) {
    int fd = accepted();
    pid_t child = fork();
    if (child == 0) {
        dup2(fd, 0);
        dup2(fd, 1);
        close(fd);
        execlp("cat", "cat", NULL);
        _exit(9);
    }
    close(fd);
    peer("send p through cat");
    peer("recv p 11");
    say("peer: %s", peer_text);
    peer("shut p w");
    reap(child);
    peer("gone p");
    say("peer: %s", peer_text);
}

SCENARIO(vfork_and_exec) {
    int fd = connected();
    char *path = (char *)self(), *text = (char *)number(fd);
    peer("send p hello");
    pid_t child = vfork();
    if (child == 0) {
        execl(path, path, "=user", text, NULL);
        _exit(9);
    }
    reap(child);
    STEP(write(fd, "still", 5));
}

SCENARIO(vfork_that_closes) {
    int fd = connected();
    pid_t child = vfork();
    if (child == 0) {
        close(fd);
        execlp("true", "true", NULL);
        _exit(9);
    }
    reap(child);
    STEP(write(fd, "still", 5));
    peer("recv p 5");
    say("peer: %s", peer_text);
}

SCENARIO(system_and_popen) {
    int fd = connected();
    STEP(system("exit 3") >> 8);
    FILE *stream = popen("echo hello", "r");
    char data[16] = "";
    fgets(data, sizeof data, stream);
    say("%s", bytes(data, strlen(data)));
    STEP(pclose(stream));
    STEP(write(fd, "still", 5));
    peer("recv p 5");
}
