/* Looked up once, by the constructor or by the first call that comes before it: other libraries'
 * constructors may use sockets. */
#include <dlfcn.h>
#include <errno.h>
#include <string.h>

#include "order.h"
#include "real.h"

struct neat_real neat_real;
bool neat_real_known;

/* A call that this libc does not have (they are newer than it): whoever asks gets ENOSYS. */
static long missing(void) {
    errno = ENOSYS;
    return -1;
}

static void find_call(void **slot, const char *name) {
    *slot = dlsym(RTLD_NEXT, name);
    if (!*slot)
        *slot = (void *)(uintptr_t)missing;
}

void neat_real_find(void) {
    /* Twice at the same time does no harm: both find the same. */
#define X(name) find_call((void **)&neat_real.name, #name);
    NEAT_REAL_CALLS(X)
#undef X
    __atomic_store_n(&neat_real_known, true, __ATOMIC_RELEASE);
}

AT_START(ORDER_REAL) void at_load(void) {
    neat_real_find();
}
