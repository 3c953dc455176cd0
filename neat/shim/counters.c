/* What this process has met: `neat status` and tests look at it. */
#include "base.h"

struct neat_client_stats neat_counters;

void neat_stats(struct neat_client_stats *out) {
    *out = neat_counters;
}
