/* Which descriptors are ours. Looked at in every call, from any thread, without a lock: a socket object's
 * memory is never given back to be something else (refs.c), so one that was found is held first and then
 * looked for again.
 *
 * A number may change hands past us: closed by a system call that is made without libc, by a child that
 * shares the descriptors (CLONE_FILES), by io_uring. No bytes of its new file may go to the connection then,
 * nor the other way. Two things tell, and neither costs a system call while all is well:
 *   - The kernel gives the number out again, and the call that made it passes here (fd_fresh: numbers.c, and
 *     each call that may make a socket): what stood under it is closed.
 *   - The replica hears that every copy is closed, and says so in the socket object (NEAT_ST_ORPHAN, then
 *     another generation). Then the kernel is asked what the number is. Not seen: a number that was closed
 *     and given out past us, both, until the replica has heard of the first; and then not that of a
 *     listener, of a UDP socket, or of a connection that has other copies.
 */
#include <sys/mman.h>

#include "../order.h"
#include "../setup.h"
#include "preload.h"

#define MOST (1 << 20)             /* Linux's fs.nr_open; a descriptor beyond is always the kernel's */
#define UNDECIDED ((uintptr_t)1)

static uintptr_t *table;           /* [MOST]; memory comes as it is touched */
static int table_end;
static pthread_mutex_t deciding = PTHREAD_MUTEX_INITIALIZER;

static uintptr_t *socket_entry(int fd) {
    uintptr_t *entries = load(&table);
    return entries && fd >= 0 && fd < load(&table_end) ? &entries[fd] : NULL;
}

static bool is_pair(int fd) {
    int type = 0, kept = errno;
    socklen_t length = sizeof type;
    bool found = libc(getsockopt)(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_SEQPACKET;
    errno = kept;
    return found;
}

/* Whether `fd` is another file now. A connection that is not over: no system call. */
static bool is_stale(const struct neat_socket *s, int fd) {
    if (load(&s->stage) != STAGE_CONNECTED)
        return false;
    bool open = endpoint_current(&s->end) && !(load(&s->end.shared->status) & NEAT_ST_ORPHAN);
    return !__builtin_expect(open, 1) && !is_pair(fd);
}

static void expire(uintptr_t *entry, uintptr_t seen, int fd) {
    if (!swap_if(entry, &seen, 0))
        return;
    epoll_lost(fd);
    neat_undup((struct neat_socket *)(seen & ~UNDECIDED));
}

int fd_fresh(int fd) {
    uintptr_t *entry = socket_entry(fd);
    uintptr_t seen = entry ? load(entry) : 0;
    int kept = errno;
    if (neat_is_own(fd))
        neat_own_lost(fd);
    if (seen)
        expire(entry, seen, fd);
    else
        epoll_lost(fd);
    errno = kept;
    return fd;
}

struct neat_socket *fd_get_any(int fd, bool *undecided) {
    uintptr_t *entry = socket_entry(fd);
    uintptr_t seen = entry ? load(entry) : 0;
    while (seen) {
        struct neat_socket *s = neat_get((struct neat_socket *)(seen & ~UNDECIDED));
        uintptr_t now = load_seq(entry);
        if (now == seen && is_stale(s, fd)) {
            expire(entry, seen, fd);
            now = load(entry);
        } else if (now == seen) {
            *undecided = seen & UNDECIDED;
            return s;
        }
        neat_put(s);
        seen = now;
    }
    return NULL;
}

struct neat_socket *fd_get(int fd) {
    bool undecided;
    struct neat_socket *s = fd_get_any(fd, &undecided);
    if (s && undecided) {
        neat_put(s);
        return NULL;
    }
    return s;
}

struct neat_socket *fd_hold(int fd, bool *undecided) {
    struct neat_socket *s = fd_get_any(fd, undecided);
    if (!s || !*undecided)
        return s;
    neat_put(s);
    pthread_mutex_lock(&deciding);
    s = fd_get_any(fd, undecided);
    if (!s || !*undecided)
        pthread_mutex_unlock(&deciding);
    return s;
}

void fd_release(struct neat_socket *s, bool undecided) {
    if (undecided)
        pthread_mutex_unlock(&deciding);
    neat_put(s);
}

static uintptr_t *make_socket_table(void) {
    uintptr_t *fresh = neat_map(-1, MOST * sizeof *table), *none = NULL;
    if (!fresh)
        return NULL;
    if (!swap_if(&table, &none, fresh))
        munmap(fresh, MOST * sizeof *table);
    return load(&table);
}

void fd_enter(int fd, struct neat_socket *s, bool undecided) {
    uintptr_t *entries = load(&table) ? load(&table) : make_socket_table();
    int seen = load(&table_end);
    if (!entries || fd < 0 || fd >= MOST)
        return;
    while (seen <= fd && !swap_if(&table_end, &seen, fd + 1))
        ;
    uintptr_t old = swap(&entries[fd], (uintptr_t)s | (undecided ? UNDECIDED : 0));
    if (old)
        neat_undup((struct neat_socket *)(old & ~UNDECIDED));
}

struct neat_socket *fd_leave(int fd) {
    uintptr_t *entry = socket_entry(fd);
    uintptr_t old = entry && load(entry) ? swap(entry, 0) : 0;
    struct neat_socket *s = (struct neat_socket *)(old & ~UNDECIDED);
    if (!s || !is_stale(s, fd))
        return s;
    epoll_lost(fd);
    neat_undup(s);
    return NULL;
}

int fd_end(void) {
    return load(&table_end);
}

bool fd_any(void) {
    return load(&table) != NULL;
}

/* Call `change` for each number of an undecided socket. Caller holds `deciding`. */
static int each_number(struct neat_socket *s, int (*change)(int fd, int with), int with) {
    int status = 0;
    for (int fd = 0; fd < fd_end() && status == 0; fd++)
        if (load(&table[fd]) == ((uintptr_t)s | UNDECIDED))
            status = change(fd, with);
    return status;
}

static int put_in_place(int fd, int with) {
    int cloexec = libc(fcntl)(fd, F_GETFD) & FD_CLOEXEC, flags = libc(fcntl)(fd, F_GETFL);
    libc(fcntl)(with, F_SETFL, flags & ~O_ACCMODE);
    epoll_moving(fd);
    if (libc(dup3)(with, fd, cloexec ? O_CLOEXEC : 0) < 0)
        return -errno;
    uintptr_t s = clear_bits(&table[fd], UNDECIDED) & ~UNDECIDED;
    epoll_moved(fd, (struct neat_socket *)s);
    return 0;
}

int fd_decide_neat(struct neat_socket *s) {
    int fresh, status;
    pthread_mutex_lock(&deciding);
    status = s->descriptor.stack_end >= 0 ? -EALREADY : neat_pair(&fresh, &s->descriptor.stack_end);
    if (status == 0) {
        s->descriptor.small_buffer = 1;
        status = each_number(s, put_in_place, fresh);
        libc(close)(fresh);
    }
    pthread_mutex_unlock(&deciding);
    return status == -EALREADY ? 0 : status;   /* another thread was faster */
}

static int take_out(int fd, int with) {
    (void)with;
    struct neat_socket *s = fd_leave(fd);
    if (s)
        neat_undup(s);
    return 0;
}

void fd_decide_kernel(struct neat_socket *s) {
    pthread_mutex_lock(&deciding);
    each_number(s, take_out, 0);
    pthread_mutex_unlock(&deciding);
}

/* `kernel` under one number of a socket that is on NEaT. */
static int put_back(int fd, int kernel) {
    int cloexec = libc(fcntl)(fd, F_GETFD) & FD_CLOEXEC;
    libc(fcntl)(kernel, F_SETFL, libc(fcntl)(fd, F_GETFL) & ~O_ACCMODE);
    epoll_moving(fd);
    return libc(dup3)(kernel, fd, cloexec ? O_CLOEXEC : 0) < 0 ? -errno : 0;
}

int fd_return(struct neat_socket *s, int kernel, bool undecided) {
    int status = 0, refs = 0;
    pthread_mutex_lock(&deciding);
    for (int fd = 0; fd < fd_end() && status == 0; fd++) {
        if (load(&table[fd]) != (uintptr_t)s)
            continue;
        status = put_back(fd, kernel);
        if (status == 0)
            store(&table[fd], undecided ? (uintptr_t)s | UNDECIDED : 0);
        if (status == 0)
            epoll_moved(fd, NULL);
        refs += status == 0 && !undecided;
    }
    if (undecided && s->descriptor.stack_end >= 0) {
        neat_close_own(s->descriptor.stack_end);
        s->descriptor.stack_end = -1;
    }
    pthread_mutex_unlock(&deciding);
    while (refs--)
        neat_undup(s);
    return status;
}

static void table_before_fork(void) {
    pthread_mutex_lock(&deciding);
}

static void table_after_fork(void) {
    pthread_mutex_unlock(&deciding);
}

AT_START(ORDER_TABLE) void set_up_table(void) {
    pthread_atfork(table_before_fork, table_after_fork, table_after_fork);
}
