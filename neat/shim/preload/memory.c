/* mlockall(): all memory of the program, but not the segments that it shares with the stack.
 *
 * They are sparse, and locking fills them: gigabytes. What is mapped after MCL_FUTURE stays out by itself
 * (../memory.c); here it is about what is mapped already. */
#include <sys/mman.h>

#include "preload.h"

#define SEGMENT "/memfd:neat:"     /* neat/shm/segment.py */

/* Lock what the program has, as mlock(2), and unlock what is the stack's. As in the kernel's own
 * mlockall() it is no error when something cannot be filled. Without /proc all of it stays as MCL_ONFAULT
 * has it: locked when touched. */
static void sort_out(bool fill) {
    FILE *maps = fopen("/proc/self/maps", "re");
    char *line = NULL;
    size_t room = 0;
    while (maps && getline(&line, &room, maps) > 0) {
        unsigned long start, end;
        if (sscanf(line, "%lx-%lx", &start, &end) != 2)
            continue;
        if (strstr(line, SEGMENT))
            munlock((void *)start, end - start);
        else if (fill)
            mlock((void *)start, end - start);
    }
    free(line);
    if (maps)
        fclose(maps);
}

NEAT_API int mlockall(int flags) {
    bool fill = !(flags & MCL_ONFAULT);
    if (!(flags & MCL_CURRENT) || !fd_any())
        return libc(mlockall)(flags);
    if (libc(mlockall)(flags | MCL_ONFAULT) < 0)
        return -1;
    if (fill && (flags & MCL_FUTURE))
        libc(mlockall)(MCL_FUTURE);    /* not only what is touched of it */
    int kept = errno;
    sort_out(fill);
    errno = kept;
    return 0;
}
