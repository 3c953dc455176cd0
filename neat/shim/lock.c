/* Locks in shared memory that survive the death of their holder: tx_lock and rx_lock of a socket object.
 *
 * The word is the holder's thread id, with WAITERS set while somebody sleeps on it. Whoever waits asks
 * every 20 ms whether the holder lives, and takes the lock over when it does not; the caller is told, and
 * repairs what a holder may have left half done (signal.c). A holder never blocks, so in life a wait is
 * short.
 */
#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base.h"

#define WAITERS 0x80000000u
#define CHECK_NS 20000000

static __thread uint32_t thread_id;
static __thread uint32_t *held[2];  /* what this thread holds: a socket's rx_lock and tx_lock at most */

uint32_t neat_thread_id(void) {
    if (!thread_id)
        thread_id = (uint32_t)libc(syscall)(SYS_gettid);
    return thread_id;
}

/* A child has one thread, whose number is the process's. Asked for now: later it may be out of its rights
 * (seccomp(2)). */
void neat_lock_forget(void) {
    thread_id = (uint32_t)getpid();
    held[0] = held[1] = NULL;
}

static void note(uint32_t *from, uint32_t *to) {
    if (held[0] == from)
        held[0] = to;
    else if (held[1] == from)
        held[1] = to;
}

static bool gone(uint32_t holder) {
    return kill((pid_t)holder, 0) < 0 && errno == ESRCH;
}

int neat_lock(uint32_t *word) {
    uint32_t me = neat_thread_id(), seen = 0;
    if (held[0] == word || held[1] == word)
        return -EAGAIN;
    if (swap_if(word, &seen, me)) {
        note(NULL, word);
        return 0;
    }
    for (;;) {
        uint32_t holder = seen & ~WAITERS;
        if (!holder || holder == me || gone(holder)) {
            /* WAITERS stays set: others may sleep. */
            if (swap_if(word, &seen, me | WAITERS)) {
                note(NULL, word);
                if (holder)
                    tally(dead_owners);
                return holder != 0;
            }
            continue;
        }
        if (!(seen & WAITERS) && !swap_if(word, &seen, seen | WAITERS))
            continue;
        struct timespec limit = {0, CHECK_NS};
        libc(syscall)(SYS_futex, word, FUTEX_WAIT, holder | WAITERS, &limit, NULL, 0);
        seen = load(word);
    }
}

void neat_unlock(uint32_t *word) {
    note(word, NULL);
    if (swap(word, 0) & WAITERS)
        libc(syscall)(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}
