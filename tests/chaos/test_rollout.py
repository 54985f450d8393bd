"""Laws, on a real `hearth up` under load over its public port, while a version is registered, put in shadow, made
canary for 5 % and for 50 %, promoted and rolled back, and shards, replicas of models and edges and Serve's controller
are killed one after another:
- every call is answered, at the second attempt at the latest, as docs/gateway.md tells gateways to try again; what was
  refused for overload may come again more often;
- every decision of the log names the version that made it and the probability of what was chosen, and is by its
  household's own version;
- a canary decides for its share of the households, within three standard errors, and always for the same;
- a rollback is in force within ten seconds.

One Hearth lives through it; the tests judge its log and its callers' answers. What was measured is printed (-s).
CHAOS_ROLLOUT_RATE decisions are asked for in a second, CHAOS_ROLLOUT_STAGE_S seconds a stage goes on once in force. The
rate is one that two cores answer while what they score by is killed: on a machine that is asked for more than it can,
refusals, and how long a change takes, tell of its speed.
"""

import asyncio
import itertools
import json
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import psutil
import pytest
import xgboost
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from actors.exports.log_export import export_table
from actors.log.reading import read_only_logs
from hearth.v1 import decision_pb2
from household.canary import is_in_canary
from household.scoring import feature_schema
from tests.actors.harness import CORNER, corner, signal
from tests.chaos.cluster_processes import Part, find, is_serving, kill, until
from tests.chaos.public_client import PublicChannel
from tests.chaos.rollout_judge import Change, Decided, Stage, Verdict, judge
from tests.end_to_end.hearth_process import Hearth, command, running

pytestmark = [pytest.mark.ray, pytest.mark.chaos, pytest.mark.timeout(1_200)]

RATE = float(os.environ.get("CHAOS_ROLLOUT_RATE", "80"))
STAGE_S = float(os.environ.get("CHAOS_ROLLOUT_STAGE_S", "20"))
HOUSEHOLDS = 2_000
SHARDS, SPARES, EDGES = 2, 1, 2
CALL_TIMEOUT_S = 5.0
PATIENCE_S = 15.0
"""So long a gateway comes again after it was refused for overload, each time after the delay that it was told."""
PAUSE_S = 0.05
"""Before an attempt again where no RetryInfo says how long, as docs/gateway.md has it."""
ROLLBACK_S_MAX = 10.0
IN_FORCE_S_MAX = 60.0
SETTLES_S_MAX = 120.0
READY_WITHIN_S = 300.0
SHORT_LIVED = CORNER.replace("valid: 1h", "valid: 3s").replace("valid: 2h", "valid: 3s")
"""So that whoever comes again is decided for again: a slate that stands keeps its version."""
VICTIMS = (Part.SHARD, Part.MODEL, Part.CONTROLLER, Part.EDGE)


@dataclass(slots=True, kw_only=True)
class Asked:
    """A call, with what became of it."""

    household: str
    time_s: float
    attempts: int = 0
    failures: list[str] = field(default_factory=list)
    """Of each attempt that had no answer."""
    decision_id: str = ""
    version: str = ""
    stands: bool = False
    """Decided before: nothing was scored, by whatever version."""
    answered_s: float = 0.0


class Gateway:
    """Members who come to the app, at an even rate, whatever becomes of those before; in a thread of its own."""

    def __init__(self, address: str) -> None:
        self.asked: list[Asked] = []
        self._address = address
        self._chance = random.Random(1)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._come()), name="gateway", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Let those who are there be answered, and nobody come any more."""
        self._is_over.set()
        self._thread.join(10 * CALL_TIMEOUT_S)

    async def _come(self) -> None:
        channel = PublicChannel(self._address)
        calls: set[asyncio.Task[None]] = set()
        begun_s = time.monotonic()
        for number in itertools.count():
            if self._is_over.is_set():
                break
            call = asyncio.create_task(self._ask(channel, number))
            calls.add(call)
            call.add_done_callback(calls.discard)
            await asyncio.sleep(max(0.0, begun_s + number / RATE - time.monotonic()))
        await asyncio.gather(*calls)
        await channel.close()

    async def _ask(self, channel: PublicChannel, number: int) -> None:
        one = Asked(household=f"h{number % HOUSEHOLDS}", time_s=time.time())
        self.asked.append(one)
        visit = signal(f"v{number}", one.household, "visit", time.time_ns() // 1_000, member="ann")
        request = decision_pb2.DecideRequest(
            request_id=f"r{number}", household=one.household, member="ann", channel="app", signals=[visit]
        )
        failures, given_up_s = 0, time.monotonic() + PATIENCE_S
        while failures < 2 and time.monotonic() < given_up_s:
            one.attempts += 1
            try:
                told = await channel.decisions.Decide(request, timeout=CALL_TIMEOUT_S)
            except grpc.aio.AioRpcError as failed:
                one.failures.append(f"{failed.code().name}: {failed.details()}"[:200])
                # Refused since more is asked than this machine can answer: that is its speed, and no failure.
                failures += failed.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED
                await asyncio.sleep(_pause_s(failed) * self._chance.uniform(0.5, 1.0))
                continue
            one.decision_id, one.version, one.answered_s = told.decision_id, told.model_version, time.time()
            one.stands = "SLATE_STANDS" in told.reasons
            return


def _pause_s(failed: grpc.aio.AioRpcError) -> float:
    status, retry = rpc_status.from_call(failed), error_details_pb2.RetryInfo()
    if status is None or not any(detail.Unpack(retry) for detail in status.details):
        return PAUSE_S
    return retry.retry_delay.ToTimedelta().total_seconds()


@dataclass(slots=True, kw_only=True)
class Story:
    """What was asked for, what callers were told, and what the log says."""

    changes: list[Change]
    asked: list[Asked]
    killed: Counter[Part]
    decided: dict[str, Decided]
    shadow_scores: int
    """Decisions of the stage in shadow that have its scores, and that lack them."""
    without_shadow_scores: int
    verdict: Verdict

    def stage(self, what: str) -> Stage:
        return next(one for one in self.verdict.stages if one.what == what)


class Course:
    """A Hearth whose versions change, and which loses one process after another."""

    def __init__(self, hearth: Hearth, gateway: Gateway, folder: Path) -> None:
        self._hearth = hearth
        self._gateway = gateway
        self._folder = folder
        self._chance = random.Random(2)
        self.changes = [Change(what="priors", began_s=time.time(), version_of=lambda _: "prior")]
        self.killed: Counter[Part] = Counter()

    def models(self, *words: str) -> None:
        ended = command("models", *words, "--data-dir", str(self._hearth.data_dir))
        assert ended.returncode == 0, (words, ended.stdout, ended.stderr)

    def register(self, version: str, *, seed: int) -> None:
        """Train a booster as a notebook would, and register its file."""
        names = list(feature_schema(corner()).names)
        rows = np.random.default_rng(seed).normal(size=(300, len(names))).astype(np.float32)
        label = (rows[:, seed] > 0.3).astype(np.float32)
        booster = xgboost.train(
            {"objective": "binary:logistic", "max_depth": 3, "nthread": 1, "seed": seed},
            xgboost.DMatrix(rows, label, feature_names=names),
            10,
        )
        file = self._folder / f"{version}.ubj"
        booster.save_model(file)
        self.models("register", str(file), "--version", version)

    def change(self, what: str, *words: str, canary: float = 0.0, champion: str, kills: bool = True) -> None:
        """Change what is in service, wait until it is, and go on for a while, with every kind of process killed."""

        def version_of(household: str) -> str:
            return "v2" if canary and is_in_canary(household.encode(), version="v2", share=canary) else champion

        share = canary or None
        one = Change(what=what, began_s=time.time(), version_of=version_of, share=share)
        self.changes.append(one)
        self.models(*words)
        until(lambda: self._is_in_force(one), within_s=IN_FORCE_S_MAX, what=f"{what} is in force")
        goes_on_until_s = time.monotonic() + STAGE_S
        for part in VICTIMS if kills else ():
            self.settles()
            self.kill(part)
            time.sleep(1.0)
        self.settles()
        time.sleep(max(0.0, goes_on_until_s - time.monotonic()))

    def _is_in_force(self, change: Change) -> bool:
        """Return whether all who were answered in the last two seconds were decided for as they are to be."""
        now_s = time.time()
        lately = [one for one in self._gateway.asked[-int(5 * RATE) :] if one.answered_s > now_s - 2.0]
        lately = [one for one in lately if not one.stands]
        is_new = now_s - change.began_s > 2.0 and len(lately) > RATE / 4
        return is_new and all(one.version == change.version_of(one.household) for one in lately)

    def kill(self, part: Part) -> None:
        """Kill one process of this part that does something."""
        victims = [one for one in find(self._hearth.process.pid, part) if part is not Part.SHARD or _owns(one, self)]
        assert victims, f"there is no {part}"
        kill([self._chance.choice(victims)])
        self.killed[part] += 1

    def settles(self) -> None:
        """Wait until everything that was killed is there again."""
        pid = self._hearth.process.pid
        until(
            lambda: sum(map(is_serving, find(pid, Part.SHARD))) == SHARDS + SPARES,
            within_s=SETTLES_S_MAX,
            what="all shards serve",
        )
        until(lambda: len(find(pid, Part.CONTROLLER)) == 1, within_s=SETTLES_S_MAX, what="a controller")
        until(lambda: bool(find(pid, Part.MODEL)), within_s=SETTLES_S_MAX, what="a replica of a model")
        until(lambda: self._edges() == EDGES, within_s=SETTLES_S_MAX, what="both edges listen")

    def _edges(self) -> int:
        port = int(self._hearth.address.rpartition(":")[2])
        return sum(
            any(one.status == "LISTEN" and one.laddr.port == port for one in process.net_connections(kind="tcp"))
            for process in find(self._hearth.process.pid, Part.EDGE)
        )

    @property
    def log(self) -> Path:
        return self._hearth.data_dir / "log"


def _owns(process: psutil.Process, course: Course) -> bool:
    held = (lock.read_text().strip() for lock in course.log.glob("p-*.lock"))
    return str(process.pid) in held


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("rollout")
    (folder / "corner.yaml").write_text(SHORT_LIVED, encoding="utf-8")
    options = ("--playbook", str(folder / "corner.yaml"), "--shards", str(SHARDS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEARTH_EDGE_COUNT", str(EDGES))
        patch.setenv("HEARTH_SPARE_SHARD_COUNT", str(SPARES))
        # Who stands in for another keeps what it has: moves of partitions are the matter of test_moves.py.
        patch.setenv("HEARTH_REBALANCE_AFTER_S", "0")
        with running(folder / "data", *options, ready_within_s=READY_WITHIN_S) as hearth:
            gateway = Gateway(hearth.address)
            try:
                course = Course(hearth, gateway, folder)
                lived(course)
            finally:
                ended_s = time.time()
                gateway.close()
            hearth.stop()
            yield told(course, gateway, ended_s)


def lived(course: Course) -> None:
    course.register("v1", seed=1)
    course.change("champion", "promote", "v1", "--force", champion="v1", kills=False)
    course.register("v2", seed=2)
    course.change("shadow", "shadow", "v2", champion="v1")
    course.change("canary 5 %", "canary", "v2", "--share", "5%", canary=0.05, champion="v1")
    course.change("canary 50 %", "canary", "v2", "--share", "50%", canary=0.5, champion="v1")
    course.change("promoted", "promote", "v2", "--force", champion="v2")
    # At the worst of times: what scores is gone, and who would start it anew, and a shard.
    for part in (Part.MODEL, Part.CONTROLLER, Part.SHARD):
        course.kill(part)
    course.change("rolled back", "rollback", champion="v1")


def told(course: Course, gateway: Gateway, ended_s: float) -> Story:
    decided: dict[str, Decided] = {}
    shadow_s = [one.began_s for one in course.changes if one.what in ("shadow", "canary 5 %")]
    with_scores = without = 0
    for table in export_table(partial(read_only_logs, course.log), "decisions"):
        for row in table.to_pylist():
            one = Decided(
                decision_id=row["decision_id"],
                household=row["household"],
                time_s=row["decided_at"].timestamp(),
                version=row["model_version"],
                propensity=row["propensity"],
                is_degraded=row["degraded"],
                stands=bool(row["stands"]),
            )
            decided[one.decision_id] = one
            if shadow_s[0] + ROLLBACK_S_MAX < one.time_s < shadow_s[1] and not one.stands:
                with_scores += bool(row["shadows"])
                without += not row["shadows"]
    verdict = judge(course.changes, decided.values(), trial="v2", ended_s=ended_s, settles_s=IN_FORCE_S_MAX)
    story = Story(
        changes=course.changes,
        asked=gateway.asked,
        killed=course.killed,
        decided=decided,
        shadow_scores=with_scores,
        without_shadow_scores=without,
        verdict=verdict,
    )
    report(story)
    return story


def report(story: Story) -> None:
    span_s = story.asked[-1].time_s - story.asked[0].time_s
    again = [one for one in story.asked if one.attempts > 1]
    took_ms = np.array([1_000 * (one.answered_s - one.time_s) for one in story.asked if one.decision_id])
    lines: list[dict[str, Any]] = [
        {
            "calls": len(story.asked),
            "per_s": round(len(story.asked) / span_s, 1),
            "failed": sum(not one.decision_id for one in story.asked),
            "answered_at_a_later_attempt": sum(bool(one.decision_id) for one in again),
            "attempts_at_most": max(one.attempts for one in story.asked),
            "why": Counter(why for one in again for why in one.failures).most_common(6),
            "ms_p50_p99_max": [round(float(np.percentile(took_ms, at)), 1) for at in (50, 99, 100)],
            "killed": {part.name.lower(): count for part, count in story.killed.items()},
        },
        {
            "decisions": len(story.decided),
            "without_version_or_propensity": len(story.verdict.unnamed),
            "by_another_version": len(story.verdict.by_another),
            "degraded": len(story.verdict.degraded),
            "households_moved": len(story.verdict.moved),
            "with_shadow_scores": story.shadow_scores,
            "without_shadow_scores": story.without_shadow_scores,
        },
        *(
            {
                "stage": one.what,
                "in_force_s": round(one.in_force_s, 2),
                "decisions": one.decisions,
                "households": one.by_version,
            }
            | ({} if one.share is None else {"share": round(one.found, 4), "off_in_se": round(one.standard_errors, 2)})
            for one in story.verdict.stages
        ),
    ]
    for line in lines:
        print(json.dumps(line), file=sys.stderr, flush=True)


def test_every_call_is_answered_at_the_second_attempt_at_the_latest(story: Story):
    failed = [(one.household, one.failures) for one in story.asked if not one.decision_id]

    assert all(story.killed[part] >= 4 for part in VICTIMS)
    assert failed[:5] == []


def test_what_was_answered_is_in_the_log_by_the_version_that_was_told(story: Story):
    other = [
        one
        for one in story.asked
        if one.decision_id
        and (one.decision_id not in story.decided or story.decided[one.decision_id].version != one.version)
    ]

    assert other[:5] == []


def test_every_decision_names_its_version_and_its_probability(story: Story):
    assert story.verdict.unnamed[:5] == []


def test_every_decision_is_by_its_households_own_version(story: Story):
    assert story.verdict.by_another[:5] == []
    assert story.verdict.degraded[:5] == []


def test_every_household_stays_with_its_version(story: Story):
    assert story.verdict.moved[:5] == []


@pytest.mark.parametrize("what", ["canary 5 %", "canary 50 %"])
def test_a_canary_decides_for_its_share(story: Story, what: str):
    stage = story.stage(what)

    assert sum(stage.by_version.values()) > HOUSEHOLDS / 2
    assert stage.standard_errors <= 3


def test_a_shadow_scores_every_decision_and_makes_none(story: Story):
    assert set(story.stage("shadow").by_version) == {"v1"}
    assert story.shadow_scores > 0
    assert story.without_shadow_scores == 0


def test_a_rollback_is_in_force_within_ten_seconds(story: Story):
    assert set(story.stage("rolled back").by_version) == {"v1"}
    assert story.stage("rolled back").in_force_s <= ROLLBACK_S_MAX
