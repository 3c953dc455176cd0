/* mlockall() in a program: locks HOST PORT WHEN, which is before (the socket is made) or after. The peer
 * there echoes. Prints whether the program's own memory was filled, and KiB of the segments that it shares
 * with the stack that are there, and that are locked. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define SIZE (1 << 20)
#define PAGES (SIZE / 4096)

static char data[300000];

static int dial(const char *host, const char *port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port))};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    inet_pton(AF_INET, host, &to.sin_addr);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
        exit(2);
    return fd;
}

static void ask(int fd) {
    for (size_t done = 0, more; done < sizeof data; done += more) {
        more = sizeof data - done < 10000 ? sizeof data - done : 10000;
        if (write(fd, data, more) != (ssize_t)more || recv(fd, data, more, MSG_WAITALL) != (ssize_t)more)
            exit(3);
    }
}

static void *fresh(void) {
    return mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static const char *filled(void *memory) {
    unsigned char there[PAGES];
    int count = 0;
    if (mincore(memory, SIZE, there) < 0)
        exit(4);
    for (int i = 0; i < PAGES; i++)
        count += there[i] & 1;
    return count == PAGES ? "filled" : count ? "partly filled" : "empty";
}

static void report(void) {
    FILE *maps = fopen("/proc/self/smaps", "r");
    char line[512];
    long resident = 0, locked = 0, kib;
    int ours = 0, segments = 0;
    while (fgets(line, sizeof line, maps)) {
        if (strstr(line, "-") && strstr(line, " r")) {
            ours = strstr(line, "/memfd:neat:") != NULL;
            segments += ours;
        }
        if (ours && sscanf(line, "Rss: %ld", &kib) == 1)
            resident += kib;
        if (ours && sscanf(line, "Locked: %ld", &kib) == 1)
            locked += kib;
    }
    fclose(maps);
    printf("segments %d resident %ld locked %ld\n", segments, resident, locked);
}

int main(int argc, char **argv) {
    if (argc < 4)
        return 2;
    int before = !strcmp(argv[3], "before"), fd = before ? -1 : dial(argv[1], argv[2]);
    void *early = fresh();
    if (mlockall(before ? MCL_CURRENT | MCL_FUTURE : MCL_CURRENT) < 0)
        return 5;
    if (before)
        fd = dial(argv[1], argv[2]);
    ask(fd);
    printf("early %s, late %s\n", filled(early), filled(fresh()));
    report();
    if (munlockall() < 0 || mlockall(MCL_CURRENT | MCL_FUTURE) < 0)
        return 5;
    ask(fd);
    printf("late %s\n", filled(fresh()));
    report();
    return 0;
}
