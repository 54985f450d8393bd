"""One shard in this process with the telco playbook, and a bare grpc.aio server and client beside it.

Calls enter the shard where the exchange hands them over. The log's files are real, their syncs are not, and the
playbook's priors score. Each household is asked about once: what is measured weighs every candidate anew.

The app asks: rules that do not count answers are in the playbook and play no part. The bare call's CPU is that of its
server and its client; a call of the shard pays for neither. With `everything`, all offers are eligible and all rules
count answers: each candidate is scored, and each rule is asked of each.
"""

import asyncio
import gc
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import grpc
import grpc.aio

from actors.log.segments import SegmentStore
from actors.partition.caller import NOBODY_LEAVES
from actors.shard.config import ShardConfig
from actors.shard.shard import Shard
from actors.shard.warm import warm_kernels
from hearth.internal.v1 import shard_pb2
from hearth.v1 import decision_pb2, decision_pb2_grpc
from household.plan import NONE, Plan
from loadtest.shipped import SHIPPED_PLAYBOOK
from loadtest.town import MONDAY_US, Town
from playbooks.compiler import compile_playbook
from tests.actors.harness import DiskFiles, SettableClock
from tests.benches.recovery_bench import signal_batches
from wire.batches import ipc_bytes

CLIENTS = 16
DAYS = 2.0

Ask = Callable[[int], Awaitable[bytes]]
"""Asks about a household, by its number; returns the answer's bytes."""


class Bare(decision_pb2_grpc.DecisionServiceServicer):
    """Answers every Decide alike."""

    def __init__(self, answer: bytes) -> None:
        """Take the answer."""
        self._answer = answer

    async def Decide(
        self, request: decision_pb2.DecideRequest, context: grpc.aio.ServicerContext
    ) -> decision_pb2.DecideResponse:
        del request, context
        return decision_pb2.DecideResponse.FromString(self._answer)


class Served:
    """A shard whose partition lived for some days."""

    def __init__(self, shard: Shard, town_households: list[tuple[str, str]]) -> None:
        """Take an open shard, and the households (and a member of each) to be asked about."""
        self.shard = shard
        self.households = town_households

    def request(self, number: int) -> decision_pb2.DecideRequest:
        """Return what is asked of one."""
        household, member = self.households[number]
        return decision_pb2.DecideRequest(request_id=f"r{number}", household=household, member=member, channel="app")

    async def ask(self, number: int) -> bytes:
        """Decide, as the exchange hands it over."""
        call = shard_pb2.DecideCall(request=self.request(number))
        return await self.shard.call(shard_pb2.METHOD_DECIDE, 0, call.SerializeToString(), NOBODY_LEAVES, "")

    def weighed(self, number: int) -> tuple[int, int]:
        """Return how many candidates the slate of a household was chosen from, and how many of them could be scored."""
        state = self.shard._owned[0].owner.state
        row, _ = state.find(self.households[number][0].encode())
        made = [slate.decision.candidates for slate in state.slates.of(row)]
        return (len(made[0]), sum(one.score is not None for one in made[0])) if made else (0, 0)


async def served(plan: Plan, households: int, stack: AsyncExitStack) -> Served:
    """Open a shard whose one partition holds a town."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    town = Town(seed=1, households=households, start_us=MONDAY_US, days=DAYS, plan=plan)
    clock = SettableClock(town.end_us)
    shard = Shard(ShardConfig(name="shard", address="unix:"), SegmentStore(folder, files=DiskFiles()), clock=clock)
    await shard.assign(0, plan_bytes=plan.canonical_bytes, epoch=1)
    stack.push_async_callback(shard.drain)
    for batch in signal_batches(town, 8_192):
        await shard.call(shard_pb2.METHOD_INGEST, 0, ipc_bytes(batch), NOBODY_LEAVES, "")
    state = shard._owned[0].owner.state
    known = []
    for row in range(state.households.count):
        members = state.members.children(row)
        known.append((state.households.key(row).decode(), state.members.key(members[0]).decode() if members else ""))
    for _ in range(10_000):  # moments that arose meanwhile are decided on their own; they are not what is measured
        if not state.pending:
            break
        await asyncio.sleep(0.01)
    return Served(shard, known)


async def cpu_us_per_call(ask: Ask, numbers: range) -> float:
    """Return the CPU of this process per call, while clients ask one after another, each for its own households."""

    async def client(own: int) -> None:
        for number in numbers[own::CLIENTS]:
            await ask(number)

    began = time.process_time()
    await asyncio.gather(*(client(own) for own in range(CLIENTS)))
    return 1e6 * (time.process_time() - began) / len(numbers)


def weighing_everything(plan: Plan) -> Plan:
    """Return a plan under which nothing is said of a candidate before it is scored, and each rule counts answers."""
    offers = tuple(replace(one, eligible=NONE) for one in plan.offers)
    rules = tuple(replace(one, inbound=True) for one in plan.policy.rules)
    return replace(plan, offers=offers, policy=replace(plan.policy, rules=rules))


PARTS = ("rules", "budgets", "experiments", "slate")
"""What a plan may be measured without; a slate then has one action."""


def without(plan: Plan, parts: Sequence[str]) -> Plan:
    """Return a plan without some of its parts."""
    if "rules" in parts:
        plan = replace(plan, policy=replace(plan.policy, rules=()))
    if "budgets" in parts:
        plan = replace(plan, budgets=())
    if "experiments" in parts:
        plan = replace(plan, experiments=(), journeys=tuple(replace(one, control_share=0.0) for one in plan.journeys))
    if "slate" in parts:
        plan = replace(plan, arbitration=replace(plan.arbitration, slate_length=1))
    return plan


async def measure(rounds: int, calls: int, *, everything: bool = False, less: Sequence[str] = ()) -> dict[str, float]:
    """Return the median CPU µs per call of a Decide that weighs anew, of one whose slate stands, and of a bare call.

    `everything`: each candidate is scored, and each rule asked of it. `less`: of PARTS, what the plan is without.
    """
    plan = compile_playbook(SHIPPED_PLAYBOOK)
    if everything:
        plan = weighing_everything(plan)
    plan = without(plan, less)
    warm_kernels()
    async with AsyncExitStack() as stack:
        town = await served(plan, calls * (rounds + 1), stack)
        known = len(town.households) // (rounds + 1)
        answer = await town.ask(0)
        server = grpc.aio.server()
        decision_pb2_grpc.add_DecisionServiceServicer_to_server(Bare(answer), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        stack.push_async_callback(server.stop, None)
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
        stub = decision_pb2_grpc.DecisionServiceStub(channel)

        async def ask_bare(number: int) -> bytes:
            return (await stub.Decide(town.request(number))).SerializeToString()

        took: dict[str, list[float]] = {"fresh": [], "standing": [], "bare": []}
        gc.freeze()
        for turn in range(rounds + 1):
            numbers = range(turn * known, (turn + 1) * known)
            measured = {"bare": await cpu_us_per_call(ask_bare, numbers)}
            measured["fresh"] = await cpu_us_per_call(town.ask, numbers)
            if turn:  # the first is for warmth
                for name, value in measured.items():
                    took[name].append(value)
            standing = [await again(town, numbers)]
            if turn:
                took["standing"] += standing
        weighed = [town.weighed(number) for number in range(known, len(town.households)) if town.weighed(number)[0]]
        ratios = [fresh / bare for fresh, bare in zip(took["fresh"], took["bare"], strict=True)]
        return {
            **{name: round(statistics.median(values), 1) for name, values in took.items()},
            "ratio": round(statistics.median(ratios), 2),
            "ratio_least": round(min(ratios), 2),
            "calls": known * rounds,
            "slates": len(weighed),
            "candidates": round(statistics.mean(one for one, _ in weighed), 1),
            "candidates_least": min(one for one, _ in weighed),
            "scored": round(statistics.mean(two for _, two in weighed), 1),
            "rules": len(plan.policy.rules),
            "rules_asked": sum(one.inbound for one in plan.policy.rules),
        }


def told(found: dict[str, float]) -> str:
    """Return what was measured as lines for people."""
    return (
        f"Decide that looks at {found['candidates']:.0f} candidates ({found['scored']:.1f} of them scored), "
        f"{found['rules']:.0f} rules in the playbook ({found['rules_asked']:.0f} of them asked): "
        f"{found['fresh']:.0f} µs\n"
        f"whose slate stands: {found['standing']:.0f} µs\n"
        f"bare grpc.aio call: {found['bare']:.0f} µs\n"
        f"ratio {found['ratio']:.2f}, least {found['ratio_least']:.2f}; {found['calls']:.0f} calls of each"
    )


async def again(town: Served, numbers: range) -> float:
    """Return the CPU of asking once more, under other ids: the slates stand."""

    async def ask(number: int) -> bytes:
        request = town.request(number)
        request.request_id += "-again"
        call = shard_pb2.DecideCall(request=request)
        return await town.shard.call(shard_pb2.METHOD_DECIDE, 0, call.SerializeToString(), NOBODY_LEAVES, "")

    return await cpu_us_per_call(ask, numbers)
