/* Mappings that a program's mlockall(2) does not fill. */
#include <sys/mman.h>

#include "base.h"

#define PAGE 4096

/* mlockall(MCL_FUTURE) has a new mapping filled at once, which of a segment are gigabytes of holes, and
 * counts it against RLIMIT_MEMLOCK. One that grows keeps the flags that it has: so it begins as one page,
 * which is unlocked. */
void *neat_map(int fd, size_t bytes) {
    int flags = (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED) | MAP_NORESERVE;
    void *first = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (first == MAP_FAILED)
        return NULL;
    munlock(first, PAGE);
    void *whole = mremap(first, PAGE, bytes, MREMAP_MAYMOVE);
    if (whole != MAP_FAILED)
        return whole;
    int error = errno;
    munmap(first, PAGE);
    errno = error;
    return NULL;
}
