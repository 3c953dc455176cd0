"""`python -m neat.syscalls BOOT`: the syscall server of a stack."""

from neat.syscalls.main import main

if __name__ == "__main__":
    main()
