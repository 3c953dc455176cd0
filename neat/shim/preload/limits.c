/* setrlimit and prlimit: accept() relies on RLIMIT_NOFILE (spares.c). */
#include <sys/resource.h>

#include "../order.h"
#include "../setup.h"
#include "preload.h"

NEAT_API int setrlimit(__rlimit_resource_t resource, const struct rlimit *limit) {
    int status = libc(setrlimit)(resource, limit);
    neat_limits_changed();
    return status;
}

NEAT_API int setrlimit64(__rlimit_resource_t resource, const struct rlimit64 *limit) {
    int status = libc(setrlimit64)(resource, limit);
    neat_limits_changed();
    return status;
}

NEAT_API int prlimit(pid_t pid, enum __rlimit_resource resource, const struct rlimit *limit,
                     struct rlimit *old) {
    int status = libc(prlimit)(pid, resource, limit, old);
    neat_limits_changed();
    return status;
}

NEAT_API int prlimit64(pid_t pid, enum __rlimit_resource resource, const struct rlimit64 *limit,
                       struct rlimit64 *old) {
    int status = libc(prlimit64)(pid, resource, limit, old);
    neat_limits_changed();
    return status;
}
