/* Gives its rights up, becomes another program (itself) as nobody, and echoes one connection on PORT. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static int serve(int port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    char data[4096];
    ssize_t n;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) < 0 || listen(fd, 5) < 0) {
        perror("listen");
        return 1;
    }
    printf("ready\n");
    fflush(stdout);
    alarm(20);
    fd = accept(fd, NULL, NULL);
    while ((n = read(fd, data, sizeof data)) > 0)
        if (write(fd, data, (size_t)n) != n)
            return 5;
    return 0;
}

int main(int count, char **arguments) {
    if (count < 2)
        return 2;
    if (count > 2)
        return serve(atoi(arguments[1]));
    int self = open("/proc/self/exe", O_RDONLY);
    if (setgroups(0, NULL) < 0 || setgid(65534) < 0 || setuid(65534) < 0)
        return 3;
    fexecve(self, (char *[]){arguments[0], arguments[1], "serve", NULL}, environ);
    perror("fexecve");
    return 4;
}
