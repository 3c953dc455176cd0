/* The ground floor: what needs no socket. Atomic words, counters, locks, memory, descriptors of our own,
 * waiting. */
#ifndef NEAT_BASE_H
#define NEAT_BASE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "client.h"
#include "real.h"

/* Words in shared memory: nothing else touches them. */
#define load(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define load_seq(p) __atomic_load_n((p), __ATOMIC_SEQ_CST)
#define store(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define swap(p, v) __atomic_exchange_n((p), (v), __ATOMIC_SEQ_CST)
#define set_bits(p, v) __atomic_fetch_or((p), (v), __ATOMIC_SEQ_CST)
#define clear_bits(p, v) __atomic_fetch_and((p), ~(v), __ATOMIC_SEQ_CST)
#define add(p, v) __atomic_add_fetch((p), (v), __ATOMIC_SEQ_CST)
#define sub(p, v) __atomic_sub_fetch((p), (v), __ATOMIC_SEQ_CST)
#define fence() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define swap_if(p, expected, v) \
    __atomic_compare_exchange_n((p), (expected), (v), false, __ATOMIC_SEQ_CST, __ATOMIC_ACQUIRE)

/* counters.c */
#define tally(field) __atomic_fetch_add(&neat_counters.field, 1, __ATOMIC_RELAXED)
extern struct neat_client_stats neat_counters;

/* lock.c: 0: locked; 1: locked, but the last holder died inside; -EAGAIN: this thread holds it (a signal
 * handler). */
int neat_lock(uint32_t *word);
void neat_unlock(uint32_t *word);
uint32_t neat_thread_id(void);
void neat_lock_forget(void);       /* in a forked child */

/* memory.c: readable and writable memory, of a file from its beginning or (-1) of nobody, that costs what
 * is touched of it, whatever the program says with mlockall(2). NULL: errno says why. */
void *neat_map(int fd, size_t bytes);

/* own.c: descriptors that the application neither sees nor closes. */
int neat_hide_fd(int fd);          /* from now on one of those, under the number that is returned */
/* A copy that is one of those; -1 when there is no number above those of applications. */
int neat_copy_hidden(int fd);
void neat_close_own(int fd);
void neat_show_fd(int fd);         /* from now on the application's */
bool neat_is_own(int fd);
/* It is one of those, and was closed past us: the kernel has given the number to another file. */
void neat_own_lost(int fd);
int neat_own_end(void);            /* one beyond the highest that was ever one of those */
/* `where` holds the number of one of those, and may be given another at any time (neat_move_own), until it
 * is closed. */
void neat_hold_own(int *where);
int neat_move_own(int fd);         /* the application wants that number: 0, or -EBUSY */

/* wait.c */
/* Whether a wait that a signal handler has interrupted goes on: every handler has SA_RESTART (signal(7)).
 * NULL: never. */
extern bool (*neat_restarts)(void);
/* Every wait of this program on a descriptor passes by us. */
extern bool neat_looks_first;
/* No limit, but every signal handler ends the wait (signal(7), SA_RESTART). */
#define NEAT_FOREVER (INT64_MAX / 2)
int neat_poll(int fd, short events, int64_t timeout_ns);    /* revents (0: time is over), or -errno */
int64_t neat_timeout(int fd, int name);        /* SO_RCVTIMEO or SO_SNDTIMEO in ns; -1: none */
int64_t neat_now(void);                        /* CLOCK_MONOTONIC, ns */
/* How long who waits looks first, ns; decided by the first who asks. */
int64_t neat_spin_ns(void);
static inline bool neat_spins(void) {          /* this machine has processors to spare */
    return neat_spin_ns() > 0;
}

#endif
