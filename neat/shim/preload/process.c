/* Programs that this one starts. What fork() does to us is in pthread_atfork handlers, which run in libc's own fork: life.c (calls
 * that other threads are in), registration.c, segments.c, table.c; this file's come last.
 */
#include <stdarg.h>

#include "preload.h"

static void in_child(void) {
    epoll_after_fork_child();
}

/* Handlers of a child run in the order of their registration: when this one does, all locks are free. */
__attribute__((constructor(150))) static void set_up(void) {
    pthread_atfork(NULL, NULL, in_child);
}

/* A child of the kernel's vfork works in its parent's memory, where each close or dup would change the parent's table. POSIX allows that
 * vfork is fork. */
NEAT_API pid_t vfork(void) {
    return libc(fork)();
}
