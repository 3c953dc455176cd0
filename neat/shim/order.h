/* In which order the library sets itself up, and which lock comes before which over a fork.
 *
 * Constructors run from the lowest priority to the highest. Most of them register fork handlers, and what
 * fork() calls follows from that (pthread_atfork(3)): handlers before it in the reverse order, so the highest
 * priority takes its lock first, which is the order in which a call takes them on its way down; handlers
 * after it in this order, so in a child the lower layers are usable when the upper ones clean up. Priorities
 * up to 100 are the compiler's own.
 */
#ifndef NEAT_ORDER_H
#define NEAT_ORDER_H

#define AT_START(order) __attribute__((constructor(order))) static

/* libc's calls: whatever comes later may need them. */
#define ORDER_REAL 101
/* What the preload library tells the core, before a constructor below makes the core work. */
#define ORDER_HOOKS 110
/* The connection to the syscall server: the child has its parent's, and one thread with another number. */
#define ORDER_REGISTRATION 120
/* The segments: nobody holds this lock and the one before; both are free in the child when sockets go. */
#define ORDER_SEGMENTS 121
/* Cords are asked for under this lock, over that connection: no child has a copy of one. */
#define ORDER_CORDS 122
/* A lock of a moment: a child closes its copies of what stays its parent's. */
#define ORDER_SPARES 125
/* The pool of sockets: a child destroys those that only other threads held, for which segments are free. */
#define ORDER_SOCKETS 130
/* epoll: the registry before each instance's lock, and both before those of the core. */
#define ORDER_INSTANCES 135
/* The table of numbers: a socket is decided under its lock, and epoll hears of it. */
#define ORDER_TABLE 140
/* A child's locks are all free: what it has of its parent's epoll instances is marked. */
#define ORDER_PROCESS 150
/* What `neat run` says of calls and routes. */
#define ORDER_CALLS 151
/* `neat run -v`: for the next. */
#define ORDER_LOG 155
/* Uses all of them: the sockets that the program before has left us. */
#define ORDER_ADOPT 160

#endif
