/* SA_RESTART (signal(7)): a wait of ours that sleeps in poll() cannot leave it to the kernel to go on
 * after a handler, so it does that itself when every handler of the program has SA_RESTART. Which one ran
 * is not known. Looked up when a wait was interrupted, which is seldom, so there is no way to install a
 * handler that we do not see. */
#include "../order.h"
#include "preload.h"

static bool restarts(void) {
    struct sigaction now;
    for (int signal = 1; signal <= SIGRTMAX; signal++) {
        if (libc(sigaction)(signal, NULL, &now) < 0)
            continue;              /* libc's own */
        bool handled = (now.sa_flags & SA_SIGINFO) ||
                       (now.sa_handler != SIG_DFL && now.sa_handler != SIG_IGN);
        if (handled && !(now.sa_flags & SA_RESTART))
            return false;
    }
    return true;
}

AT_START(ORDER_HOOKS) void set_up_restarts(void) {
    neat_restarts = restarts;
}
