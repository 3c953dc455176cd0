/* Becomes a daemon as careful programs do, closing every descriptor that it can name; then echoes one
 * connection. daemonize HOW PORT: "loop" closes one by one, "range" with close_range, "from" with closefrom,
 * "daemon" calls daemon(3). */
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void close_all(const char *how) {
    if (!strcmp(how, "loop"))
        for (int fd = 3; fd < 65536; fd++)
            close(fd);
    else if (!strcmp(how, "range"))
        close_range(3, ~0u, 0);
    else if (!strcmp(how, "from"))
        closefrom(3);
}

static int listen_on(int port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) < 0 || listen(fd, 5) < 0) {
        perror("listen");
        exit(1);
    }
    return fd;
}

int main(int count, char **arguments) {
    char data[4096];
    ssize_t n;
    int port = count > 2 ? atoi(arguments[2]) : 0;
    if (!port)
        return 2;
    int early = listen_on(port + 1);      /* the library has descriptors of its own when all are closed */
    if (!strcmp(arguments[1], "daemon")) {
        if (daemon(0, 1) < 0)
            return 3;
    } else {
        if (fork())
            _exit(0);
        setsid();
        if (fork())
            _exit(0);
    }
    close_all(arguments[1]);
    if (strcmp(arguments[1], "daemon") && fcntl(early, F_GETFD) >= 0)
        return 4;
    int listener = listen_on(port);
    printf("ready\n");
    fflush(stdout);
    alarm(20);
    int fd = accept(listener, NULL, NULL);
    while ((n = read(fd, data, sizeof data)) > 0)
        if (write(fd, data, (size_t)n) != n)
            return 5;
    return 0;
}
