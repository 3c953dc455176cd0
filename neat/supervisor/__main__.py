"""`python -m neat.supervisor supervisor@FD`, by the guardian."""

from neat.boot import from_argv
from neat.supervisor.core import Supervisor

if __name__ == "__main__":
    Supervisor(from_argv()).run()
