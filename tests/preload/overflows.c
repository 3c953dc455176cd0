/* Gives sendmsg() fewer parts than it says: the library, which reads them, looks beyond the end of an
 * allocation. */
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>

int main(void) {
    struct sockaddr_in peer = {
        .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(0x0a4d0001)};
    struct iovec *parts = calloc(1, sizeof *parts);
    struct msghdr message = {
        .msg_name = &peer, .msg_namelen = sizeof peer, .msg_iov = parts, .msg_iovlen = 2};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (connect(fd, (struct sockaddr *)&peer, sizeof peer) < 0)
        return 2;
    sendmsg(fd, &message, 0);
    return 0;
}
