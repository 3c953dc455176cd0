/* Processes and programs that this one starts. What fork() does to us is in pthread_atfork handlers, which
 * run in libc's own fork: refs.c (calls that other threads are in), registration.c, segments.c, table.c; this
 * file's come last (../order.h).
 *
 * A program that is started is told by the environment that it is on NEaT. One that gets an environment
 * without a word of NEaT in it, because its parent cleaned it (nginx), is told all the same: it would be
 * left descriptors that it can do nothing with.
 */
#include <sched.h>
#include <stdarg.h>
#include <sys/wait.h>

#include "../order.h"
#include "preload.h"

#define CARRIED 8

static char *carried[CARRIED];     /* NAME=VALUE, as they were when this program began; NULL */

static void process_in_child(void) {
    epoll_after_fork_child();
}

static void remember_environment(void) {
    static const char *const names[CARRIED] = {"NEAT_APP",     "NEAT_STACK",  "NEAT_RUN_DIR", "NEAT_ADDRESS",
                                               "NEAT_ROUTES", "NEAT_VERBOSE", "NEAT_IO_URING", "LD_PRELOAD"};
    int count = 0;
    if (!getenv("NEAT_APP"))
        return;
    for (int i = 0; i < CARRIED; i++) {
        const char *value = getenv(names[i]);
        if (value && asprintf(&carried[count], "%s=%s", names[i], value) >= 0)
            count++;
    }
}

AT_START(ORDER_PROCESS) void set_up_process(void) {
    remember_environment();
    pthread_atfork(NULL, NULL, process_in_child);
}

static bool names(const char *entry, const char *other) {
    size_t length = strcspn(other, "=") + 1;
    return !strncmp(entry, other, length);
}

static bool has_variable(char *const *environment, const char *entry) {
    for (; environment && *environment; environment++)
        if (names(*environment, entry))
            return true;
    return false;
}

static int count_of(char *const *list) {
    int count = 0;
    while (list && list[count])
        count++;
    return count;
}

/* The environment for a program: the same one when nothing is missing, else `room` entries more in
 * `fresh`. */
static char *const *complete(char *const *environment, char **fresh) {
    int count = count_of(environment);
    memcpy(fresh, environment, (size_t)count * sizeof *fresh);
    for (int i = 0; i < CARRIED && carried[i]; i++)
        if (!has_variable(environment, carried[i]))
            fresh[count++] = carried[i];
    fresh[count] = NULL;
    return fresh;
}

static bool is_complete(char *const *environment) {
    return !carried[0] || has_variable(environment, carried[0]);
}

static size_t completed_bytes(char *const *environment) {
    return ((size_t)count_of(environment) + CARRIED + 1) * sizeof(char *);
}

/* In the caller's frame: after fork() in a threaded program there may be no heap. */
#define COMPLETED(environment) \
    (is_complete(environment) ? (environment) \
                              : complete(environment, __builtin_alloca(completed_bytes(environment))))

/* A child of the kernel's vfork works in its parent's memory, where each close or dup would change the
 * parent's table. POSIX allows that vfork is fork. */
NEAT_API pid_t vfork(void) {
    return libc(fork)();
}

struct copied {
    int (*run)(void *argument);
    void *argument;
};

static int run_in_copy(void *argument) {
    struct copied copied = *(struct copied *)argument;
    neat_lock_forget();
    return copied.run(copied.argument);
}

/* Without CLONE_VM it is a fork without pthread_atfork() handlers: what both have is no longer ours alone.
 * What follows `argument` is read whether it is there or not, as libc does. */
NEAT_API int clone(int (*run)(void *), void *stack, int flags, void *argument, ...) {
    struct copied copied = {run, argument};
    va_list values;
    va_start(values, argument);
    pid_t *parent = va_arg(values, pid_t *);
    void *storage = va_arg(values, void *);
    pid_t *child = va_arg(values, pid_t *);
    va_end(values);
    if ((flags & CLONE_VM) || !run)
        return libc(clone)(run, stack, flags, argument, parent, storage, child);
    neat_flags_shared();
    return libc(clone)(run_in_copy, stack, flags, &copied, parent, storage, child);
}

NEAT_API int execve(const char *path, char *const arguments[], char *const environment[]) {
    adopt_stamp();
    return libc(execve)(path, arguments, COMPLETED(environment));
}

NEAT_API int execv(const char *path, char *const arguments[]) {
    return execve(path, arguments, environ);
}

NEAT_API int execvpe(const char *file, char *const arguments[], char *const environment[]) {
    adopt_stamp();
    return libc(execvpe)(file, arguments, COMPLETED(environment));
}

NEAT_API int execvp(const char *file, char *const arguments[]) {
    return execvpe(file, arguments, environ);
}

NEAT_API int fexecve(int fd, char *const arguments[], char *const environment[]) {
    adopt_stamp();
    return libc(fexecve)(fd, arguments, COMPLETED(environment));
}

/* `list` becomes an array that lives in the caller's frame; what comes after its NULL is left in it. */
static int count_list(const char *first, va_list list) {
    int count = 1;
    for (const char *at = first; at; at = va_arg(list, const char *))
        count++;
    return count;
}

static void read_list(char **out, const char *first, va_list *list) {
    for (char *at = (char *)first; at; at = va_arg(*list, char *))
        *out++ = at;
    *out = NULL;
}

#define LISTED(name, first) \
    va_list list; \
    va_start(list, first); \
    char *name[count_list(first, list)]; \
    va_end(list); \
    va_start(list, first); \
    read_list(name, first, &list)

NEAT_API int execl(const char *path, const char *first, ...) {
    LISTED(arguments, first);
    va_end(list);
    return execve(path, arguments, environ);
}

NEAT_API int execlp(const char *file, const char *first, ...) {
    LISTED(arguments, first);
    va_end(list);
    return execvpe(file, arguments, environ);
}

NEAT_API int execle(const char *path, const char *first, ...) {
    LISTED(arguments, first);
    char *const *environment = va_arg(list, char *const *);
    va_end(list);
    return execve(path, arguments, environment);
}

NEAT_API int posix_spawn(pid_t *child, const char *path, const posix_spawn_file_actions_t *actions,
                         const posix_spawnattr_t *attributes, char *const arguments[],
                         char *const environment[]) {
    adopt_stamp();
    return libc(posix_spawn)(child, path, actions, attributes, arguments, COMPLETED(environment));
}

NEAT_API int posix_spawnp(pid_t *child, const char *file, const posix_spawn_file_actions_t *actions,
                          const posix_spawnattr_t *attributes, char *const arguments[],
                          char *const environment[]) {
    adopt_stamp();
    return libc(posix_spawnp)(child, file, actions, attributes, arguments, COMPLETED(environment));
}

NEAT_API int system(const char *command) {
    adopt_stamp();
    return libc(system)(command);
}

NEAT_API FILE *popen(const char *command, const char *mode) {
    adopt_stamp();
    return libc(popen)(command, mode);
}

/* libc puts /dev/null under 0, 1 and 2 without asking us. */
NEAT_API int daemon(int keep_directory, int keep_standard) {
    int status = libc(daemon)(keep_directory, keep_standard);
    for (int fd = 0; status == 0 && !keep_standard && fd <= STDERR_FILENO; fd++) {
        epoll_forget(fd);
        struct neat_socket *s = fd_leave(fd);
        if (s)
            neat_undup(s);
    }
    return status;
}

/* A connection of its own, what it needs of the replicas that run, and a way to the syscall server's
 * successor. */
void process_settle(void) {
    uint64_t owner;
    if (!(fd_any() || carried[0]))
        return;
    neat_keep_door();
    if (neat_registered() || neat_attach(&owner) < 0)
        return;
    uint32_t active = neat_active_replicas(true);
    for (uint32_t replica = 0; replica < MAX_REPLICAS; replica++) {
        struct segment *segment;
        if ((active & (1u << replica)) && neat_segment_get(owner, replica, 0, &segment) == 0)
            neat_segment_put(segment);
    }
}

NEAT_API int setuid(uid_t user) {
    process_settle();
    return libc(setuid)(user);
}

NEAT_API int seteuid(uid_t user) {
    process_settle();
    return libc(seteuid)(user);
}

NEAT_API int setreuid(uid_t real, uid_t effective) {
    process_settle();
    return libc(setreuid)(real, effective);
}

NEAT_API int setresuid(uid_t real, uid_t effective, uid_t saved) {
    process_settle();
    return libc(setresuid)(real, effective, saved);
}

NEAT_API int chroot(const char *path) {
    process_settle();
    return libc(chroot)(path);
}
