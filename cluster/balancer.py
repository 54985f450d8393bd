"""Keeps partitions where they are to be: divided among the shards that are asked for, and none on those that drain.

What was asked for is kept in the metadata store until it is undone, so asking twice is asking once, and a coordinator
that is made anew goes on. By itself it moves where things have been uneven for a while. One partition at a time.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from cluster.balance import Load, ProposedMove, evacuation, hot, is_uneven, next_move
from cluster.balance_told import Rate, number_of, told_moves, told_shards
from cluster.metadata import MetadataStore, MetadataUnavailable
from cluster.moves import Mover
from cluster.shard_seen import ShardSeen
from cluster.wishes import DRAIN_NODE, DRAIN_SHARD, MAKE_WAY, REBALANCE, RESTART, SHARDS

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 0.25


class AskedInVain(Exception):
    """What is asked for cannot be; says why, and what could."""


class Balancer:
    """Decides on moves and has them made. In the coordinator's loop."""

    def __init__(
        self,
        metadata: MetadataStore,
        shards: Mapping[str, ShardSeen],
        mover: Mover,
        *,
        partition_count: int,
        uneven_after_s: float,
    ) -> None:
        """
        Args:
            metadata: what was asked for.
            shards: by name, as they come to be known.
            mover: makes the moves.
            partition_count: of the cluster.
            uneven_after_s: after how long it moves by itself where things are uneven; 0 for never.
        """
        self._metadata = metadata
        self._shards = shards
        self._mover = mover
        self._partition_count = partition_count
        self._uneven_after_s = uneven_after_s
        self._wishes: dict[str, str] = {}
        self._uneven_since_s: float | None = None
        self._is_evening_out = False
        self._rates: dict[int, Rate] = {}
        self._asking = asyncio.Lock()
        self.restart: dict[str, Any] = {}
        """How far a rolling restart is, as the launcher says, who does it."""
        self.slots: dict[str, int] | None = None
        """Shards that each node of a cluster may run; None where nobody has said so."""

    async def load(self) -> None:
        """Learn what was asked for before this coordinator was made; where that cannot be read, nothing was."""
        try:
            self._wishes = await asyncio.to_thread(self._metadata.wishes)
        except MetadataUnavailable as wrong:
            logger.warning("what was asked of the placement is not known: %s", wrong)

    def note_slots(self, slots: dict[str, int]) -> None:
        """Learn how many shards each node of the cluster may run, by the node's name."""
        before, self.slots = self.slots or {}, slots
        for node in sorted(slots.keys() - before.keys()):
            logger.info("node %s is there, with %d shard slots", node, slots[node])
        for node in sorted(before.keys() - slots.keys()):
            logger.warning("node %s is gone", node)

    # --- who is to have what -----------------------------------------------------------------------------------------

    @property
    def homes(self) -> list[ShardSeen]:
        """Shards that are no spares, those that are to go included, in the order of their numbers."""
        return sorted(
            (seen for seen in self._shards.values() if not seen.is_spare), key=lambda one: number_of(one.name)
        )

    @property
    def wanted(self) -> int:
        """How many shards the partitions are to be divided among."""
        return int(self._wishes.get(SHARDS, len(self.homes)))

    def leaving(self) -> list[str]:
        """Return shards that are too many: those that are drained first, then the newest."""
        homes = self.homes
        too_many = max(0, len(homes) - self.wanted)
        drained_first = sorted(homes, key=lambda one: (not self._is_drained(one), -number_of(one.name)))
        return [one.name for one in drained_first[:too_many]]

    def missing(self) -> int:
        """Return how many shards are yet to be made."""
        return max(0, self.wanted - len(self.homes))

    def retirable(self) -> list[str]:
        """Return shards that are too many and own nothing any more."""
        busy = self._mover.under_way
        return [
            name
            for name in self.leaving()
            if not self._shards[name].partitions and (busy is None or name not in (busy.source.name, busy.target.name))
        ]

    def may_take(self, seen: ShardSeen) -> bool:
        """Return whether a shard is to be given partitions while another is there."""
        return not self._is_drained(seen) and seen.name not in self.leaving()

    def _is_drained(self, seen: ShardSeen) -> bool:
        if DRAIN_SHARD + seen.name in self._wishes or MAKE_WAY + seen.name in self._wishes:
            return True
        return seen.started is not None and DRAIN_NODE + seen.host in self._wishes

    def _seats(self) -> list[str]:
        # What makes way is away for a moment: a spare may have it as well.
        candidates = list(self._shards.values()) if self._is_making_way else self.homes
        able = [seen for seen in candidates if self.may_take(seen) and seen.started is not None and seen.is_able]
        return [seen.name for seen in able]

    @property
    def _is_making_way(self) -> bool:
        return any(name.startswith(MAKE_WAY) for name in self._wishes)

    def _to_leave(self) -> dict[str, str]:
        """Return shards that are to have nothing, and why."""
        leaving = set(self.leaving())
        to_leave = {}
        for seen in self._shards.values():
            if self._is_drained(seen):
                to_leave[seen.name] = f"{seen.name} is drained"
            elif seen.name in leaving:
                to_leave[seen.name] = f"{self.wanted} shards are wanted"
            elif seen.is_spare and self._is_to_even_out:
                to_leave[seen.name] = f"{seen.name} has stood in"
        return to_leave

    @property
    def _is_to_even_out(self) -> bool:
        return (REBALANCE in self._wishes or self._is_evening_out) and not self._is_making_way

    # --- what is asked -----------------------------------------------------------------------------------------------

    async def ask(self, verb: str, argument: str) -> dict[str, Any]:
        """Take what is asked for; return how things stand, or `{"refused": why}`.

        Args:
            verb: scale, scale-awaiting-nodes, rebalance, drain, undrain, restart or look; a launcher's are make-way,
                made-way and restarted.
            argument: how many shards, or which shard or node.

        Raises:
            MetadataUnavailable: it was not kept, or nobody knows whether it was.
        """
        async with self._asking:
            try:
                match verb:
                    case "scale" | "scale-awaiting-nodes":
                        await self._scale(int(argument), awaits_nodes=verb != "scale")
                    case "rebalance":
                        await self._wish(REBALANCE, "asked")
                    case "drain":
                        await self._drain(argument)
                    case "undrain":
                        await self._undrain(argument)
                    case "restart":
                        await self._restart()
                    case "restarted":
                        self.restart = {}
                        await self._wish(RESTART, None)
                        await self._wish(REBALANCE, "asked")
                    case "make-way":
                        await self._make_way(argument)
                    case "made-way":
                        await self._wish(MAKE_WAY + argument, None)
                    case "look":
                        pass
                    case _:
                        raise AskedInVain(f"{verb} is not known here")
            except AskedInVain as wrong:
                return {"refused": str(wrong)}
        return self.report()

    async def _wish(self, name: str, value: str | None) -> None:
        await asyncio.to_thread(self._metadata.wish, name, value)
        if value is None:
            self._wishes.pop(name, None)
        else:
            self._wishes[name] = value

    async def _scale(self, count: int, *, awaits_nodes: bool) -> None:
        if not 1 <= count <= self._partition_count:
            raise AskedInVain(
                f"{count} shards cannot be: there are {self._partition_count} partitions, and each shard has one at "
                f"least; ask for 1 to {self._partition_count}"
            )
        spares = sum(seen.is_spare for seen in self._shards.values())
        slots = sum(self.slots.values()) if self.slots is not None and not awaits_nodes else None
        if slots is not None and count > self.wanted and count + spares > slots:
            each = ", ".join(f"{host} {slots}" for host, slots in sorted((self.slots or {}).items()))
            raise AskedInVain(
                f"{count} shards and {spares} spares need {count + spares} shard slots, and the cluster has {each}; "
                "add a node first, or have them wait for nodes with --await-nodes"
            )
        homes = self.homes
        drained = sum(self._is_drained(seen) for seen in homes)
        if count <= drained - max(0, len(homes) - count):
            raise AskedInVain(f"of {count} shards all would be drained; undo that first: hearth drain NAME --undo")
        if count != self.wanted:
            await self._wish(SHARDS, str(count))
        await self._wish(REBALANCE, "asked")

    async def _drain(self, what: str) -> None:
        wish = self._named(what)
        if wish in self._wishes:
            return
        self._wishes[wish] = "asked"
        try:
            if not any(self.may_take(seen) for seen in self.homes):
                raise AskedInVain(
                    f"without {what} no shard is left that could have its partitions; have more first: hearth scale"
                )
        finally:
            del self._wishes[wish]
        await self._wish(wish, "asked")

    async def _undrain(self, what: str) -> None:
        wish = self._named(what)
        if wish in self._wishes:
            await self._wish(wish, None)
            await self._wish(REBALANCE, "asked")

    async def _restart(self) -> None:
        able = [seen for seen in self._shards.values() if not self._is_drained(seen)]
        if len(able) < 2:
            raise AskedInVain(
                "there is one shard only, and nobody to take its partitions meanwhile; have another first: "
                "hearth scale --shards 2"
            )
        if RESTART not in self._wishes:
            self.restart = {}
            await self._wish(RESTART, "asked")

    async def _make_way(self, name: str) -> None:
        wish = MAKE_WAY + name
        if wish in self._wishes:
            return
        others = (seen for seen in self._shards.values() if seen.name != name)
        if not any(self.may_take(seen) and seen.started is not None and seen.is_able for seen in others):
            raise AskedInVain(f"nobody is there who could take the partitions of {name}")
        await self._wish(wish, "asked")

    def _named(self, what: str) -> str:
        if what in self._shards:
            return DRAIN_SHARD + what
        hosts = {seen.host for seen in self._shards.values() if seen.started is not None} | {*(self.slots or ())}
        wished = DRAIN_NODE + what
        if what in hosts or wished in self._wishes:
            return wished
        raise AskedInVain(
            f"{what!r} is neither a shard ({', '.join(sorted(self._shards))}) nor a node ({', '.join(sorted(hosts))})"
        )

    # --- what is done ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Move what is to move, for ever."""
        try:
            await self._mover.resume()
        except MetadataUnavailable as wrong:
            logger.warning("moves that were under way are not known: %s", wrong)
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self.look()
            except Exception:
                logger.exception("looking at the balance failed; trying again")

    async def look(self) -> None:
        """Make the next move, if one is to be made."""
        loads = self._loads()
        proposal = self._proposal(loads)
        if proposal is not None:
            source, target = self._shards[proposal.source], self._shards[proposal.target]
            await self._mover.move(proposal.partition, source, target, why=proposal.why)
        elif REBALANCE in self._wishes and self.is_settled(loads):
            await self._wish(REBALANCE, None)

    def _proposal(self, loads: list[Load]) -> ProposedMove | None:
        seats = self._seats()
        barred = [one.partition for one in loads if self._mover.is_pausing(one.partition)]
        away = evacuation(seats, loads, leave=self._to_leave(), barred=barred)
        self._note_unevenness(seats, loads)
        if away is not None or not self._is_to_even_out:
            return away
        proposal = next_move(seats, loads, barred=barred)
        if proposal is None:
            self._is_evening_out = False
        return proposal

    def _note_unevenness(self, seats: list[str], loads: list[Load]) -> None:
        stood_in = any(self._shards[one.shard].is_spare for one in loads) and bool(seats)
        if not self._uneven_after_s or not (stood_in or is_uneven(seats, loads)):
            self._uneven_since_s = None
            return
        now_s = asyncio.get_running_loop().time()
        self._uneven_since_s = now_s if self._uneven_since_s is None else self._uneven_since_s
        if now_s - self._uneven_since_s >= self._uneven_after_s:
            self._is_evening_out = True

    def is_settled(self, loads: list[Load]) -> bool:
        """Return whether all that was asked for is so."""
        started = all(seen.started is not None for seen in self.homes if self.may_take(seen))
        is_served = len(loads) == self._partition_count
        to_leave = self._to_leave()
        is_left = not any(one.shard in to_leave for one in loads)
        is_staffed = not self.missing() and not self.leaving()
        is_staffed = is_staffed and RESTART not in self._wishes
        is_even = REBALANCE not in self._wishes or next_move(self._seats(), loads) is None
        return self._mover.under_way is None and started and is_served and is_left and is_staffed and is_even

    def _loads(self) -> list[Load]:
        now_s = asyncio.get_running_loop().time()
        loads = []
        for seen in self._shards.values():
            for partition, facts in seen.partitions.items():
                rate = self._rates.setdefault(partition, Rate())
                rate.note(now_s, facts)
                loads.append(
                    Load(
                        partition=partition,
                        shard=seen.name,
                        per_s=rate.per_s,
                        households=int(facts.get("households", 0)),
                    )
                )
        return loads

    def report(self) -> dict[str, Any]:
        """Return how things stand, for people and programs."""
        loads = self._loads()
        to_leave = self._to_leave()
        drained = [seen.name for seen in self._shards.values() if self._is_drained(seen)]
        return {
            "wanted": self.wanted,
            "missing": self.missing(),
            "retirable": self.retirable(),
            "is_settled": self.is_settled(loads),
            "is_rebalancing": self._is_to_even_out,
            "left": sum(one.shard in to_leave for one in loads),
            "shards": told_shards(self._shards, loads, to_leave=to_leave, drained=drained),
            "drained_nodes": [name.removeprefix(DRAIN_NODE) for name in self._wishes if name.startswith(DRAIN_NODE)],
            "slots": self.slots,
            "is_restart_wanted": RESTART in self._wishes,
            "restart": self.restart if RESTART in self._wishes else None,
            "hot": [asdict(one) for one in hot(self._seats(), loads)],
            **told_moves(self._mover, asyncio.get_running_loop().time()),
        }
