"""`python -m neat`."""

from neat.cli.main import main

if __name__ == "__main__":
    main()
