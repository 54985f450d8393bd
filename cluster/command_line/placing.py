"""Commands that say where partitions are to be: options only, what they do is in cluster/commands/."""

from typing import Annotated

import typer

from cluster.command_line.options import DataDir, Json, Target, leave, target_of
from cluster.config import load_config

Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Look on until it is so; Ctrl-C ends the looking only.")]


def scale(
    shards: Annotated[int, typer.Option("--shards", min=1, help="How many shards, spares not counted.")],
    await_nodes: Annotated[
        bool, typer.Option("--await-nodes", help="In a cluster: also more than it has slots for; they wait for nodes.")
    ] = False,
    wait: Wait = True,
    data_dir: DataDir = None,
    target: Target = None,
    as_json: Json = False,
) -> None:
    """Divide the partitions of a running Hearth among so many shards, one partition after another, under load."""
    from cluster.commands.placing import scale as run

    where = target_of(load_config(data_dir=data_dir), target)
    leave(run(shards, awaits_nodes=await_nodes, target=where, is_to_wait=wait, as_json=as_json))


def rebalance(wait: Wait = True, data_dir: DataDir = None, target: Target = None, as_json: Json = False) -> None:
    """Move partitions of a running Hearth until its shards are even in load and households."""
    from cluster.commands.placing import rebalance as run

    leave(run(target=target_of(load_config(data_dir=data_dir), target), is_to_wait=wait, as_json=as_json))


def drain(
    name: Annotated[
        str, typer.Argument(metavar="SHARD|NODE", help="As `hearth status` names them.", show_default=False)
    ],
    undo: Annotated[bool, typer.Option("--undo", help="Give it partitions again.")] = False,
    wait: Wait = True,
    data_dir: DataDir = None,
    target: Target = None,
    as_json: Json = False,
) -> None:
    """Move everything off a shard, or off all shards of a node, and give them nothing until that is undone."""
    from cluster.commands.placing import drain as run

    where = target_of(load_config(data_dir=data_dir), target)
    leave(run(name, is_undone=undo, target=where, is_to_wait=wait, as_json=as_json))


def restart(
    rolling: Annotated[
        bool, typer.Option("--rolling", help="Replace one process after another, while all goes on.")
    ] = False,
    wait: Wait = True,
    data_dir: DataDir = None,
    target: Target = None,
    as_json: Json = False,
) -> None:
    """Replace the processes of a running Hearth, the way in which an upgrade goes."""
    from cluster.commands.placing import restart as run
    from cluster.errors import UsageWrong

    if not rolling:
        raise UsageWrong("a restart that is not --rolling is a stop: end `hearth up` with Ctrl-C and start it again")
    leave(run(target=target_of(load_config(data_dir=data_dir), target), is_to_wait=wait, as_json=as_json))
