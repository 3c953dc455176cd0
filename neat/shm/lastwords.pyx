"""Last words: a process that a signal of its own doing ends says on its board page which, at what address,
and where it was. It dies of that signal all the same.

The handler runs anywhere, so it only stores words into memory that is mapped, and asks the loader who has an
address. If that kills it, too, what is written so far stands.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc
from libc.string cimport memset, strlen, strrchr
from neat.shm.atomic cimport store32
from neat.shm.board cimport BoardPage, LastWords

cdef extern from "<signal.h>" nogil:
    ctypedef struct siginfo_t:
        int si_code
        void* si_addr
    ctypedef struct sigset_t:
        pass
    struct sigaction_t "sigaction":
        void (*sa_sigaction)(int, siginfo_t*, void*) noexcept
        int sa_flags
    ctypedef struct stack_t:
        void* ss_sp
        size_t ss_size
    int sigaction(int number, const sigaction_t* action, sigaction_t* old)
    int sigaltstack(const stack_t* stack, stack_t* old)
    int c_raise "raise"(int number)
    const int SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS
    const int SA_SIGINFO, SA_ONSTACK, SA_RESETHAND

cdef extern from "<execinfo.h>" nogil:
    int backtrace(void** frames, int size)

cdef extern from "<dlfcn.h>" nogil:
    ctypedef struct Dl_info:
        const char* dli_fname
        void* dli_fbase
    int dladdr(const void* address, Dl_info* info)

cdef enum:
    FRAMES = 24
    SKIPPED = 2                     # this handler, and the kernel's way into it
    STACK_BYTES = 65536             # a stack of its own: the process's may be what is at its end
    MOST_NAME = 24
    LINE_BYTES = MOST_NAME + 20

cdef LastWords* words
cdef bint dying


cdef void load_unwinder() noexcept:
    """The first backtrace() loads a library, which a handler must not; where this is imported in advance (a
    standby), nobody waits for that."""
    cdef void* frames[2]
    backtrace(frames, 2)


load_unwinder()


def prepare_last_words(board):
    """Have this process say its last words on `board`, a BoardWriter, which must live as long."""
    global words
    cdef BoardPage* page = <BoardPage*><uintptr_t>board.address
    cdef sigaction_t action
    cdef stack_t stack
    words = &page.last_words
    memset(&stack, 0, sizeof(stack))
    stack.ss_sp = calloc(1, STACK_BYTES)
    stack.ss_size = STACK_BYTES
    if stack.ss_sp == NULL:
        raise MemoryError
    sigaltstack(&stack, NULL)
    memset(&action, 0, sizeof(action))
    action.sa_sigaction = say
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESETHAND
    for number in (SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS):
        sigaction(number, &action, NULL)


cdef void say(int number, siginfo_t* info, void* _context) noexcept nogil:
    """The signal is blocked meanwhile, and its own again: raised once more, it ends the process at return."""
    global dying
    cdef void* frames[24]
    cdef int i, found
    if not dying:
        dying = True
        words.code = info.si_code
        # si_code <= 0: somebody sent it (sigaction(2)), so there is no address
        words.address = <uint64_t><uintptr_t>info.si_addr if info.si_code > 0 else 0
        words.length = 0
        store32(&words.signal, number)
        found = backtrace(frames, FRAMES)
        for i in range(SKIPPED, found):
            say_frame(frames[i])
    c_raise(number)


cdef void say_frame(void* address) noexcept nogil:
    """The file that has the address, and the offset in it."""
    cdef Dl_info found
    cdef const char* name
    cdef uint32_t length
    cdef uint64_t offset = <uint64_t><uintptr_t>address
    if words.length + LINE_BYTES > sizeof(words.text):
        return
    if dladdr(address, &found) and found.dli_fname != NULL:
        name = strrchr(found.dli_fname, b"/")
        name = name + 1 if name != NULL else found.dli_fname
        length = min(<uint32_t>strlen(name), <uint32_t>MOST_NAME)
        for i in range(length):
            if name[i] == b".":
                break
            say_byte(name[i])
        offset -= <uint64_t><uintptr_t>found.dli_fbase
    say_byte(b"+")
    say_number(offset)
    say_byte(b"\n")


cdef void say_number(uint64_t value) noexcept nogil:
    cdef int digits = 1
    while digits < 16 and value >> (4 * digits):
        digits += 1
    say_byte(b"0")
    say_byte(b"x")
    while digits > 0:
        digits -= 1
        say_byte(b"0123456789abcdef"[(value >> (4 * digits)) & 15])


cdef void say_byte(uint8_t byte) noexcept nogil:
    words.text[words.length] = byte
    words.length += 1
