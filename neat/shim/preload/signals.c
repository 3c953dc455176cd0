/* SA_RESTART (signal(7)): a wait of ours that sleeps in poll() cannot ask the kernel to go on after a handler, so it does that itself when
 * every handler of the program has SA_RESTART. */
#include "preload.h"

static uint64_t interrupting[2];   /* signals whose handler has none */

static bool restarts(void) {
    return !load(&interrupting[0]) && !load(&interrupting[1]);
}

/* What holds for that signal now, however it came about. */
static void note(int signal) {
    struct sigaction now;
    if (signal < 1 || signal > 127 || libc(sigaction)(signal, NULL, &now) < 0)
        return;
    bool handled = (now.sa_flags & SA_SIGINFO) || (now.sa_handler != SIG_DFL && now.sa_handler != SIG_IGN);
    uint64_t bit = UINT64_C(1) << (signal % 64);
    if (handled && !(now.sa_flags & SA_RESTART))
        set_bits(&interrupting[signal / 64], bit);
    else
        clear_bits(&interrupting[signal / 64], bit);
}

NEAT_API int sigaction(int signal, const struct sigaction *new, struct sigaction *old) {
    int status = libc(sigaction)(signal, new, old), kept = errno;
    if (new && status == 0)
        note(signal);
    errno = kept;
    return status;
}

NEAT_API int __sigaction(int signal, const struct sigaction *new, struct sigaction *old) {
    return sigaction(signal, new, old);
}

NEAT_API sighandler_t signal(int number, sighandler_t handler) {
    sighandler_t old = libc(signal)(number, handler);
    int kept = errno;
    note(number);
    errno = kept;
    return old;
}

NEAT_API int siginterrupt(int signal, int interrupts) {
    int status = libc(siginterrupt)(signal, interrupts), kept = errno;
    note(signal);
    errno = kept;
    return status;
}

__attribute__((constructor(110))) static void set_up(void) {
    neat_restarts = restarts;
}
