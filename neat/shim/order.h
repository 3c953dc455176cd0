/* In which order the library sets itself up, and which lock comes before which over a fork.
 *
 * Constructors run from the lowest priority to the highest. Most of them register fork handlers, and what fork() calls follows from that
 * (pthread_atfork(3)): handlers before it in the reverse order, so the highest priority takes its lock first, which is the order in which a
 * call takes them on its way down; handlers after it in this order, so in a child the lower layers are usable when the upper ones clean up.
 * Priorities up to 100 are the compiler's own. Those without one come last.
 */
#ifndef NEAT_ORDER_H
#define NEAT_ORDER_H

#define AT_START(order) __attribute__((constructor(order))) static

#define ORDER_REAL 101             /* libc's calls: whatever comes later may need them */
#define ORDER_HOOKS 110            /* what the preload library tells the core, before a constructor below makes the core work */
#define ORDER_REGISTRATION 120     /* the child has one thread, with another number, and its parent's connection (lock.c) */
#define ORDER_SEGMENTS 121         /* nobody holds this lock and the one before; both are free in the child when sockets go */
#define ORDER_SPARES 125           /* no lock: a child closes its copies of what stays its parent's */
#define ORDER_SOCKETS 130          /* the pool: the child destroys sockets, for which segments are free again */
#define ORDER_INSTANCES 135        /* epoll: the registry before each instance's lock, and both before those of the core */
#define ORDER_TABLE 140            /* a socket is decided, under the table's lock, and epoll hears of it */
#define ORDER_PROCESS 150          /* fork: all locks are free in the child; what it has of its parent's epoll is marked */
#define ORDER_CALLS 151            /* what `neat run` says about calls and routes */
#define ORDER_LOG 155              /* `neat run -v` */
#define ORDER_ADOPT 160            /* last, as it uses all of them: the sockets that the program before has left us */

#endif
