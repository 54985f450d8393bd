"""One answer on every channel: who asks on five channels at once, declines and accepts, and what may never be answered.

    python -m tests.chaos.inbound --calls 100000 [--kills 40]

A shard of its own process, under the shipped playbook, and callers beside it; with `--kills` it is killed with SIGKILL
again and again meanwhile. The judge sees what callers saw, and nothing of logs and states. Prints one line of JSON.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import random
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from signal import SIGKILL

from household.plan import Plan
from loadtest.shipped import SHIPPED_PLAYBOOK
from playbooks.compiler import compile_playbook
from serving.shard_channel import ClientSettings, ShardChannel
from tests.actors.harness import signal
from tests.chaos.client import Client
from tests.chaos.history import Call, History, Kind
from tests.chaos.restarts import Nursery, ask, nursery
from tests.chaos.shard_process import PARTITIONS

CHANNELS = ("app", "web", "ivr", "agent", "store")
CALLERS = 48
CALL_TIMEOUT_S = 10.0
DECLINES, ACCEPTS = 0.05, 0.02
"""Of the answers that offer something: so few that a household has something to say to the end."""
SERVES_WITHIN_S = 60.0
SETTINGS = ClientSettings(connect_timeout_s=1.0, backoff_first_s=0.02, backoff_max_s=0.05)


# --- judging ----------------------------------------------------------------------------------------------------------


class Contradiction(StrEnum):
    """What two answers to one household may not say."""

    ANOTHER_ACTION = "another action"
    """Nothing was told in between, and the answer is another one, though the first could be said on this channel."""
    DECLINED_OFFER = "offered after its decline"
    DECLINED_FAMILY = "of a family that was declined"
    ACCEPTED = "offered after it was accepted"
    TWO_ANSWERS = "two answers to one request"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One contradiction."""

    kind: Contradiction
    request_id: str
    """Of the call whose answer contradicts what was said before."""
    what: str


def channels_by_offer(plan: Plan) -> dict[str, frozenset[str]]:
    """Return on which channels each offer can be said."""
    return {
        offer.name: frozenset(plan.channels[treatment.channel].name for treatment in offer.treatments)
        for offer in plan.offers
    }


def contradictions(history: History, said_on: Mapping[str, frozenset[str]]) -> list[Found]:
    """Return all answers that contradict what a household had been told, or had said, before they were asked for.

    Args:
        history: of calls within the time for which what was declined stays away and slates stand.
        said_on: offer → channels that have words for it.
    """
    by_household: dict[str, list[Call]] = defaultdict(list)
    for call in history.calls:
        by_household[call.household].append(call)
    found = [*_two_answers(history)]
    for calls in by_household.values():
        answers = sorted((one for one in calls if one.kind is Kind.DECIDE and one.is_ok), key=lambda one: one.began)
        reports = [one for one in calls if one.kind is Kind.REPORT and one.outcome in ("accept", "decline")]
        found += _after_reports(answers, reports)
        found += _slate_holds(answers, reports, said_on)
    return found


def _two_answers(history: History) -> Iterator[Found]:
    first: dict[str, Call] = {}
    for call in history.of(Kind.DECIDE):
        if call.is_ok and first.setdefault(call.request_id, call).decision_id != call.decision_id:
            yield Found(
                kind=Contradiction.TWO_ANSWERS,
                request_id=call.request_id,
                what=f"{call.decision_id} and {first[call.request_id].decision_id}",
            )


def _after_reports(answers: Iterable[Call], reports: Iterable[Call]) -> Iterator[Found]:
    """Whoever asks after a decline, or an acceptance, was acknowledged is not offered that any more."""
    live = [one for one in answers if one.offered_status == "live"]
    by_action = {one.offered_action: one for one in answers if one.offered_action}
    told: dict[str, Call] = {}
    """The first acknowledged report of each action: what comes after it changes nothing."""
    for report in sorted((one for one in reports if one.is_ok and one.effective), key=lambda one: one.ended or 0):
        told.setdefault(report.action_id, report)
    for report in told.values():
        about = by_action.get(report.action_id)
        if about is None:
            continue
        for call in live:
            assert report.ended is not None
            if call.began < report.ended:
                continue
            kind = None
            if report.outcome == "accept":
                kind = Contradiction.ACCEPTED if call.offered_action == report.action_id else None
            elif call.offered_offer == about.offered_offer:
                kind = Contradiction.DECLINED_OFFER
            elif call.offered_family == about.offered_family:
                kind = Contradiction.DECLINED_FAMILY
            if kind is not None:
                what = f"{about.offered_offer} ({about.offered_family}), then {call.offered_offer} on {call.channel}"
                yield Found(kind=kind, request_id=call.request_id, what=what)


def _slate_holds(answers: list[Call], reports: list[Call], said_on: Mapping[str, frozenset[str]]) -> Iterator[Found]:
    """What was answered is answered until something was told: of a slate, the first that a channel has words for."""
    offering = [one for one in answers if one.offered_status == "live"]
    for place, call in enumerate(offering):
        before = [one for one in offering[:place] if one.ended is not None and one.ended < call.began]
        same = [one for one in before if one.channel == call.channel]
        lasts = [max(ones, key=lambda one: one.ended or 0) for ones in (before, same) if ones]
        for last in lasts:
            is_told = any(_is_between(one, last, call) for one in reports)
            is_either = _can_say(said_on, last.offered_offer, call) and _can_say(said_on, call.offered_offer, last)
            if call.offered_action != last.offered_action and is_either and not is_told:
                what = f"{last.offered_offer} on {last.channel}, then {call.offered_offer} on {call.channel}"
                yield Found(kind=Contradiction.ANOTHER_ACTION, request_id=call.request_id, what=what)
                break


def _can_say(said_on: Mapping[str, frozenset[str]], offer: str, call: Call) -> bool:
    """Return whether the channel of a call has words for an offer."""
    return offer not in said_on or call.channel in said_on[offer]


def _is_between(report: Call, before: Call, after: Call) -> bool:
    """Return whether a report may have been heard between the beginning of one call and the end of another."""
    assert after.ended is not None
    return report.began < after.ended and (report.ended is None or report.ended > before.began)


# --- planting ---------------------------------------------------------------------------------------------------------


def planted(
    history: History, said_on: Mapping[str, frozenset[str]], count: int, *, seed: int
) -> list[tuple[Contradiction, Call, Call]]:
    """Return so many ways to spoil a history without contradictions: (which, an answer of it, that answer spoilt)."""
    chance, found = random.Random(seed), list[tuple[Contradiction, Call, Call]]()
    answers = [one for one in history.of(Kind.DECIDE) if one.is_ok]
    live = [one for one in answers if one.offered_status == "live"]
    by_action = {one.offered_action: one for one in answers if one.offered_action}
    reports = [one for one in history.of(Kind.REPORT) if one.is_ok and one.effective and one.action_id in by_action]
    by_household: dict[str, list[Call]] = defaultdict(list)
    for one in live:
        by_household[one.household].append(one)
    kinds = list(Contradiction)
    while len(found) < count:
        kind = kinds[len(found) % len(kinds)]
        if kind is Contradiction.TWO_ANSWERS:
            call = chance.choice(live)
            found.append((kind, call, replace(call, began=call.began, decision_id="another")))
            continue
        if kind is Contradiction.ANOTHER_ACTION:
            home = chance.choice(list(by_household))
            told = [one for one in history.of(Kind.REPORT) if one.household == home]
            pairs = [
                call
                for one, call in itertools.pairwise(sorted(by_household[home], key=lambda call: call.began))
                if one.ended is not None
                and one.ended < call.began
                and _can_say(said_on, one.offered_offer, call)
                and not any(_is_between(report, one, call) for report in told)
            ]
            if pairs:
                call = chance.choice(pairs)
                found.append((kind, call, replace(call, offered_action="another", offered_offer="another")))
            continue
        outcome = "accept" if kind is Contradiction.ACCEPTED else "decline"
        report = chance.choice([one for one in reports if one.outcome == outcome])
        about = by_action[report.action_id]
        later = [one for one in by_household[report.household] if report.ended is not None and one.began > report.ended]
        if later:
            call = chance.choice(later)
            spoilt = replace(call, offered_family=about.offered_family, offered_offer="another of the family")
            if kind is not Contradiction.DECLINED_FAMILY:
                spoilt = replace(about, began=call.began, ended=call.ended, request_id=call.request_id)
                spoilt = replace(spoilt, channel=call.channel, offered_status="live", decision_id=call.decision_id)
            found.append((kind, call, spoilt))
    return found


def spoilt(history: History, call: Call, by: Call) -> History:
    """Return a history with another answer in the place of one; beside it, where it is to be the second one."""
    if by.decision_id == "another":
        return History(calls=[*history.calls, by])
    return History(calls=[by if one is call else one for one in history.calls])


# --- calling ----------------------------------------------------------------------------------------------------------


class Callers:
    """Households that ask on five channels at once, and say yes and no."""

    def __init__(self, channel: ShardChannel, *, households: int, seed: int) -> None:
        self.history = History()
        self._channel = channel
        self._client = Client(self._call, PARTITIONS, self.history)
        self._chance = random.Random(seed)
        self._households = households
        self._numbers = 0
        self._left = 0
        self._begun = 0
        self._more_begun = asyncio.Condition()

    async def _call(self, method: int, partition: int, payload: bytes) -> bytes:
        return await self._channel.call(method, partition, payload, timeout_s=CALL_TIMEOUT_S)

    async def live(self) -> None:
        """Let the households differ, so that there is something for everyone."""
        chance = self._chance
        for number in range(self._households):
            home, now_us = f"home-{number}", time.time_ns() // 1_000
            kinds = [("billing.bill_issued", {"amount_minor": float(chance.randint(1_000, 30_000))})]
            for product in ("mobile", "broadband", "content", "smart_home", "gaming"):
                if chance.random() < 0.4:
                    kinds.append(("billing.product_activated", {"product": product}))
            kinds += [("network.data_session", {"megabytes": 6_000.0})] * chance.randint(0, 1)
            kinds += [("wallet.activated", {})] * chance.randint(0, 1)
            kinds += [("network.gaming_session", {"minutes": 180.0, "evening": True})] * chance.randint(0, 6)
            kinds += [("network.device_seen_home", {"device": f"device-{one}"}) for one in range(chance.randint(0, 5))]
            signals = [
                signal(self._name("e"), home, kind, now_us, member=f"{home}-ann", fields=fields)
                for kind, fields in kinds
            ]
            await self._surely(lambda signals=signals: self._client.ingest(signals))

    async def run(self, calls: int) -> None:
        """Make so many calls that ask, many at a time; each until it is answered."""
        self._left = calls
        await asyncio.gather(*(self._caller() for _ in range(CALLERS)))

    async def have_begun(self, count: int) -> None:
        """Wait until so many calls have begun."""
        async with self._more_begun:
            await self._more_begun.wait_for(lambda: self._begun >= count)

    async def _caller(self) -> None:
        chance = self._chance
        while self._left > 0:
            home = f"home-{chance.randrange(self._households)}"
            channels = chance.sample(CHANNELS, chance.choice((1, 1, 2, 5)))
            await self._begin(len(channels))
            answers = await asyncio.gather(*(self._ask(home, channel) for channel in channels))
            for answer in answers:
                draw = chance.random()
                if answer.offered_status == "live" and draw < DECLINES + ACCEPTS:
                    await self._tell(answer, "decline" if draw < DECLINES else "accept")
                    await self._begin(1)
                    await self._ask(home, chance.choice(CHANNELS))

    async def _begin(self, count: int) -> None:
        self._left -= count
        async with self._more_begun:
            self._begun += count
            self._more_begun.notify_all()

    def _name(self, what: str) -> str:
        self._numbers += 1
        return f"{what}-{self._numbers}"

    async def _ask(self, home: str, channel: str) -> Call:
        request_id = self._name("q")
        return await self._surely(
            lambda: self._client.decide(home, member=f"{home}-ann", channel=channel, request_id=request_id)
        )

    async def _tell(self, answer: Call, outcome: str) -> Call:
        request_id = self._name("r")
        return await self._surely(
            lambda: self._client.report(
                answer.household,
                answer.offered_action,
                outcome,
                member=answer.member,
                channel=answer.channel,
                request_id=request_id,
            )
        )

    async def _surely(self, attempt: Callable[[], Awaitable[Call]]) -> Call:
        while True:
            call = await attempt()
            if call.is_ok:
                return call
            await asyncio.sleep(0.01)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._channel.connected()


async def _serves(socket: Path) -> None:
    deadline_s = time.monotonic() + SERVES_WITHIN_S
    while True:
        with contextlib.suppress(OSError, ValueError):
            if len(await ask(socket, "report")) == PARTITIONS:
                return
        assert time.monotonic() < deadline_s, "the shard does not serve"
        await asyncio.sleep(0.02)


async def _kill(shards: Nursery, words: tuple[str, ...], socket: Path, count: int, callers: Callers, calls: int) -> int:
    """Kill the shard so many times, spread over the calls."""
    for number in range(count):
        await callers.have_begun((number + 1) * calls // (count + 1))
        shards.kill()
        assert await shards.ended(10.0) == SIGKILL
        await shards.start(*words)
        await _serves(socket)
    return count


async def called(folder: Path, *, calls: int, households: int, kills: int, seed: int) -> tuple[History, int]:
    """Let callers make so many calls; return what they saw, and how often the shard was killed."""
    socket = folder / "shard.sock"
    words = ("--dir", str(folder / "log"), "--socket", str(socket), "--playbook", str(SHIPPED_PLAYBOOK), "--snapshots")
    async with nursery(folder / "errors") as shards:
        channel = ShardChannel(f"unix:{socket}", SETTINGS)
        try:
            await shards.start(*words)
            await _serves(socket)
            callers = Callers(channel, households=households, seed=seed)
            await callers.live()
            killing = asyncio.create_task(_kill(shards, words, socket, kills, callers, calls))
            await callers.run(calls)
            return callers.history, await killing
        finally:
            await channel.close()
            if shards.shard:
                shards.kill()
                await shards.ended(10.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--households", type=int, default=1_000)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    said_on = channels_by_offer(compile_playbook(SHIPPED_PLAYBOOK))
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        history, killed = asyncio.run(
            called(
                Path(name),
                calls=options.calls,
                households=options.households,
                kills=options.kills,
                seed=options.seed,
            )
        )
    took_s = time.monotonic() - began_s
    found = contradictions(history, said_on)
    for one in found[:20]:
        print(f"{one.kind}: {one.request_id}: {one.what}")
    ways = planted(history, said_on, 20, seed=options.seed)
    seen = sum(
        any(
            one.kind is kind and one.request_id == call.request_id
            for one in contradictions(spoilt(history, call, by), said_on)
        )
        for kind, call, by in ways
    )
    asked = [one for one in history.of(Kind.DECIDE) if one.is_ok]
    print(
        json.dumps(
            {
                "answered": len(asked),
                "by_channel": Counter(one.channel for one in asked),
                "offering": sum(one.offered_status == "live" for one in asked),
                "told": Counter(one.outcome for one in history.of(Kind.REPORT) if one.is_ok and one.effective),
                "without_an_answer_at_first": sum(not one.is_ok for one in history.calls),
                "killed": killed,
                "contradictions": len(found),
                "planted_found": f"{seen} of {len(ways)}",
                "took_s": round(took_s, 1),
            }
        )
    )


if __name__ == "__main__":
    main()
