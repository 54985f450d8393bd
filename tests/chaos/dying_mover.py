"""`hearth` whose shards die at a place on a partition's way: the file that CHAOS_DIE_AT names holds a failpoint, and
the first shard that reaches it takes the file away and is killed. Where there is no file, nothing happens.

As the command's module it patches the supervisor to run this module; as the run, it patches the shard.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from actors import failpoints
from actors.failpoints import Failpoint
from cluster import cli, runner, shard_actor, supervisor


class ShardActor(shard_actor.ShardActor):
    """A shard that may be told where to die; named as the one it stands for, by which its process is found."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        told = Path(os.environ["CHAOS_DIE_AT"])

        def reached(failpoint: Failpoint) -> None:
            try:
                if told.read_text() != failpoint:
                    return
                told.unlink()
            except FileNotFoundError:
                return
            os.kill(os.getpid(), signal.SIGKILL)

        failpoints.arm(reached)
        super().__init__(*arguments, **named)


def main() -> None:
    if len(sys.argv) > 1:
        supervisor.RUNNER_MODULE = "tests.chaos.dying_mover"
        cli.main()
    else:
        # Not the class of __main__: nobody else could import that.
        from tests.chaos.dying_mover import ShardActor as Importable

        shard_actor.ShardActor = Importable  # type: ignore[misc]
        runner.main()


if __name__ == "__main__":
    main()
