/* This process's cords: one to each replica, beside the segment that it shares with it (control.h,
 * NEAT_OP_CORD).
 *
 * * A cord is this process's alone, so that its hang-up tells the replica that the process is gone: a forked
 * child closes its parent's, and gets one of its own when it accepts or polls; until then something else has
 * the number, so that the child has the same numbers as its parent. What the process holds in shared memory
 * bears the cord's number.
 */
#include <fcntl.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "order.h"
#include "wire.h"

/* while this user has too many descriptors on their way (unix(7), ETOOMANYREFS) */
#define TRIES 100
#define RETRY_NS 1000000

/* Held while there is a cord that no segment has yet: no child is to have a copy of it. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static bool is_open(const struct segment *segment) {
    return load(&segment->cord_number) && load(&segment->cord) >= 0;
}

static int open_locked(struct segment *segment) {
    int got[2];
    struct neat_msg message = {.op = NEAT_OP_CORD, .replica = segment->replica,
                               .incarnation = segment->incarnation};
    if (is_open(segment))
        return 0;
    int status = neat_request(&message, NULL, 0, got);
    if (status < 0)
        return status;
    if (got[1] >= 0)
        libc(close)(got[1]);
    if (got[0] < 0)
        return -EMFILE;            /* there was no number for it */
    if (load(&segment->cord) >= 0) {
        libc(dup3)(got[0], load(&segment->cord), O_CLOEXEC);
        libc(close)(got[0]);
    } else {
        store(&segment->cord, neat_hide_fd(got[0]));
        neat_hold_own(&segment->cord);
    }
    store(&segment->cord_number, message.u[0]);
    return 0;
}

int neat_cord_open(struct segment *segment) {
    int cancel;
    if (is_open(segment))
        return 0;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    pthread_mutex_lock(&lock);
    int status = open_locked(segment);
    pthread_mutex_unlock(&lock);
    pthread_setcancelstate(cancel, NULL);
    return status;
}

int neat_cord_send(struct segment *segment, const struct neat_msg *message, int fd) {
    for (int i = 0; i < TRIES; i++) {
        int status = neat_message_send(load(&segment->cord), message, &fd, 1);
        if (status == -ETOOMANYREFS)
            nanosleep(&(struct timespec){0, RETRY_NS}, NULL);
        else if (status != -EINTR)
            return status;
    }
    return -ETOOMANYREFS;
}

void neat_cord_forget(struct segment *segment) {
    store(&segment->cord_number, 0);
    if (segment->cord >= 0)
        libc(dup3)(segment->bell, segment->cord, O_CLOEXEC);
}

static void before_fork(void) {
    pthread_mutex_lock(&lock);
}

static void in_parent(void) {
    pthread_mutex_unlock(&lock);
}

static void in_child(void) {
    pthread_mutex_init(&lock, NULL);
}

AT_START(ORDER_CORDS) void set_up(void) {
    pthread_atfork(before_fork, in_parent, in_child);
}
