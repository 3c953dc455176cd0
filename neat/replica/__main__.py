"""`python -m neat.replica BOOT`: one replica of the stack."""

from neat.replica.main import main

if __name__ == "__main__":
    main()
