/* Which numbers epoll must hear of when they are closed: those that some instance has or had, and the
 * instances' own. */
#include "epoll.h"

static uint64_t members[MEMBERS / 64];
static int members_end;

void member_reach(int fd) {
    int seen = load(&members_end);
    while (seen <= fd && !swap_if(&members_end, &seen, fd + 1))
        ;
}

int epoll_end(void) {
    return load(&members_end);
}

void member_note(int fd) {
    member_reach(fd);
    set_bits(&members[fd / 64], UINT64_C(1) << (fd % 64));
}

bool member_is(int fd) {
    return load(&members[fd / 64]) >> (fd % 64) & 1;
}

bool member_taken(int fd) {
    uint64_t bit = UINT64_C(1) << (fd % 64);
    return member_is(fd) && (clear_bits(&members[fd / 64], bit) & bit);
}
