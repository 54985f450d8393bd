"""`hearth` whose shards take the node they are told of for their own: several nodes on one machine share boot and
process ids, and a coordinator would end a stopped shard of its own node. CHAOS_NODE names the node, in the
environment of its raylet; with CHAOS_LEASE=off its shards go on without a lease and without a look at what others have
written, until an append shows them: the negative control.

As the command's module it patches the supervisor to run this module; as the run, it patches the shard.
"""

import os
import sys
from typing import Any

from actors.partition.commit import CommitLoop
from cluster import cli, runner, shard_actor, supervisor
from cluster.leases import LeaseHolder


class HeldAnyway(LeaseHolder):
    """Goes on without its lease, and does not mind that it was revoked."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named | {"on_revoked": lambda: None})

    def is_held(self) -> bool:
        return True


async def _look_for_nobody(loop: CommitLoop) -> None:
    loop._should_refresh = False


class NodesShard(shard_actor.ShardActor):
    """A shard on a node that has a name."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        node = os.environ.get("CHAOS_NODE")
        if node is not None:
            shard_actor.node_identity = shard_actor.node_name = lambda: node
        if os.environ.get("CHAOS_LEASE") == "off":
            shard_actor.LeaseHolder = HeldAnyway  # type: ignore[misc]
            CommitLoop._look_for_others = _look_for_nobody  # type: ignore[method-assign]
        super().__init__(*arguments, **named)


def main() -> None:
    if len(sys.argv) > 1:
        supervisor.RUNNER_MODULE = "tests.chaos.named_nodes"
        cli.main()
    else:
        # Not the class of __main__: nobody else could import that.
        from tests.chaos.named_nodes import NodesShard as Importable

        shard_actor.ShardActor = Importable  # type: ignore[misc]
        runner.main()


if __name__ == "__main__":
    main()
