"""The three judges of every chaos suite: an independent replay, the clients' history, the gateway's ledger.

    verdict = judge(records_in(directory), history, ledger, live_digests=digests_of_the_running_shard)
    verdict.assert_clean()

`records_in` is for the embedded log; any mapping of partition to its records from the first one on will do (Kafka).
What each judge says is a list of Violation, each of one Law. The laws are those of rules 1 to 13 as a client, a gateway
and a reader of the log can check them; tests/chaos/test_oracles.py breaks each by hand and sees it found.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from household.digest import state_digest
from household.events import Status
from household.plan import NONE, FeatureKind, Scope
from tests.chaos.gateway import GatewayLedger
from tests.chaos.history import Call, History, Kind, Result, Sent
from tests.chaos.plain_replay import (
    FoldedDecision,
    Occurrence,
    PlainReplay,
    Records,
    differences,
    plain_replay,
    production_replay,
)


class Law(StrEnum):
    """What must hold, named by how it is broken."""

    LOST = "lost"
    """Acknowledged, and not in the log, or there and not folded."""
    DOUBLED = "doubled"
    """One event id applied twice, or acknowledged as applied twice."""
    MISCOUNTED = "miscounted"
    """An answer's counts are not what the fold of its batch gives."""
    NOT_SENT = "not sent"
    """In the log, though every call that carried it certainly failed."""
    STALE_READ = "stale read"
    """A decision that began after an acknowledgement does not know what was acknowledged."""
    INVERTED = "inverted"
    """Acknowledged before the other was sent, and folded after it."""
    TWO_DECISIONS = "two decisions"
    """For one request id."""
    TWO_SETTLEMENTS = "two settlements"
    """Two decisions in force name one moment."""
    FORGOTTEN_MOMENT = "forgotten moment"
    """Still pending after everything came to rest."""
    OFFERED_AFTER_DECLINE = "offered after decline"
    CAP = "contact cap"
    QUIET_HOURS = "quiet hours"
    CONSENT = "consent"
    TWO_KEYS = "two keys"
    """For one decision's action, or for one moment."""
    UNKNOWN_KEY = "unknown key"
    """Handed over, and no decision in force says so."""
    UNRECORDED = "unrecorded"
    """Handed over, and no record before says so: a crash would forget the contact."""
    NOT_HANDED_OVER = "not handed over"
    STATE_DIFFERS = "state differs"
    """The product's fold, the plain fold and the live state of one log are not the same."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One law broken once."""

    law: Law
    what: str

    def __str__(self) -> str:
        return f"{self.law}: {self.what}"


@dataclass(slots=True, kw_only=True)
class Verdict:
    """What the judges found."""

    violations: list[Violation] = field(default_factory=list)
    acknowledged_events: int = 0
    applied_events: int = 0
    decisions: int = 0
    actions: int = 0
    """Handed over at least once."""
    replays: dict[int, PlainReplay] = field(default_factory=dict)

    def count(self, *laws: Law) -> int:
        """Return how often these laws were broken."""
        return sum(one.law in laws for one in self.violations)

    @property
    def summary(self) -> str:
        """One line for people."""
        return (
            f"{self.acknowledged_events:,} acknowledged events, {self.decisions:,} decisions, "
            f"{self.actions:,} actions; {self.count(Law.LOST)} lost, {self.count(Law.DOUBLED)} doubled, "
            f"{self.count(Law.TWO_KEYS)} with two keys, {len(self.violations)} violations in all"
        )

    def assert_clean(self) -> None:
        """Raise with the first violations if there are any."""
        shown = "\n".join(str(one) for one in self.violations[:20])
        assert not self.violations, f"{self.summary}\n{shown}"


def judge(
    records: Records,
    history: History,
    ledger: GatewayLedger | None = None,
    *,
    live_digests: Mapping[int, str] | None = None,
    is_at_rest: bool = True,
    is_state_compared: bool = True,
) -> Verdict:
    """Let all three judges look.

    Args:
        records: partition → its whole log.
        history: of all clients.
        ledger: of the one gateway that took all deliveries; None where there was none.
        live_digests: partition → household.digest.state_digest of the running shard, taken when nothing was under way.
        is_at_rest: no call was open and pending moments had time to be decided.
        is_state_compared: False leaves the comparison of folds out, where a suite does that by itself.
    """
    replays: dict[int, PlainReplay] = {}
    violations: list[Violation] = []
    for partition, entries in records.items():
        stored = list(entries)
        replays[partition] = plain_replay(partition, stored)
        if is_state_compared and replays[partition].state is not None:
            live = (live_digests or {}).get(partition)
            violations += state_violations(replays[partition], stored, live)
    violations += history_violations(history, replays.values(), is_at_rest=is_at_rest)
    if ledger is not None:
        violations += gateway_violations(ledger, replays.values())
    applied = sum(one.status is Status.APPLIED for replay in replays.values() for one in replay.occurrences)
    return Verdict(
        violations=violations,
        acknowledged_events=len({sent.event_id for call in history.calls if call.is_ok for sent in call.sent}),
        applied_events=applied,
        decisions=sum(one.is_in_force for replay in replays.values() for one in replay.decisions),
        actions=len(ledger.keys) if ledger is not None else 0,
        replays=replays,
    )


# --- first judge: the same log, folded by someone else ----------------------------------------------------------------


def state_violations(replay: PlainReplay, records: Iterable, live_digest: str | None = None) -> Iterator[Violation]:
    """Compare plain fold, product's fold and the live state of one partition."""
    state = production_replay(records)
    for difference in differences(replay.now, state):
        yield Violation(Law.STATE_DIFFERS, f"partition {replay.partition}: {difference}")
    if live_digest is not None and live_digest != state_digest(state):
        yield Violation(Law.STATE_DIFFERS, f"partition {replay.partition}: the live state is not what its log folds to")


# --- second judge: what the clients were told -------------------------------------------------------------------------


class _Folded:
    """What stands in all logs, found by event id, request id and household."""

    def __init__(self, replays: Iterable[PlainReplay]) -> None:
        self.replays = list(replays)
        self.by_id: dict[str, list[Occurrence]] = defaultdict(list)
        self.applied: dict[str, Occurrence] = {}
        self.partition_of: dict[str, int] = {}
        self.records: dict[tuple[str, ...], list[Counter[str]]] = defaultdict(list)
        self.decisions: list[FoldedDecision] = []
        for replay in self.replays:
            for one in replay.occurrences:
                name = one.event_id.decode(errors="backslashreplace")
                self.by_id[name].append(one)
                self.partition_of[name] = replay.partition
                if one.status is Status.APPLIED:
                    self.applied.setdefault(name, one)
            for _, ids, counted in replay.batches:
                self.records[tuple(one.decode(errors="backslashreplace") for one in ids)].append(counted)
            self.decisions += [one for one in replay.decisions if one.is_in_force]
        self.by_decision = {one.decision.decision_id: one for one in self.decisions}
        self.by_request: dict[str, list[FoldedDecision]] = defaultdict(list)
        for decision in self.decisions:
            if decision.decision.request_id:
                self.by_request[decision.decision.request_id].append(decision)


def history_violations(
    history: History, replays: Iterable[PlainReplay], *, is_at_rest: bool = True
) -> Iterator[Violation]:
    """Compare what clients were told with what the logs say."""
    folded = _Folded(replays)
    yield from _acknowledged(history, folded)
    yield from _counted_once(history, folded)
    yield from _answers_counted(history, folded)
    yield from _failed_means_failed(history, folded)
    yield from _reads(history, folded)
    yield from _order(history, folded)
    yield from _requests(history, folded)
    yield from _moments(folded, is_at_rest=is_at_rest)
    yield from _declines(history)
    yield from _rules(folded)


def _acknowledged(history: History, folded: _Folded) -> Iterator[Violation]:
    """Every acknowledged event stands in the log, and is applied unless it was late or not acceptable."""
    for name, sent in {one.event_id: one for call in history.calls if call.is_ok for one in call.sent}.items():
        found = folded.by_id.get(name)
        if not found:
            yield Violation(Law.LOST, f"event {name} of {sent.household} was acknowledged and stands in no log")
        elif name not in folded.applied and all(one.status is Status.DUPLICATE for one in found):
            yield Violation(Law.LOST, f"event {name} of {sent.household} was acknowledged and never applied")


def _counted_once(history: History, folded: _Folded) -> Iterator[Violation]:
    """No event is applied twice, nor are two clients told that theirs was the one."""
    for name, found in folded.by_id.items():
        count = sum(one.status is Status.APPLIED for one in found)
        if count > 1:
            yield Violation(Law.DOUBLED, f"event {name} is applied {count} times")
    told: Counter[str] = Counter()
    for call in history.calls:
        if call.is_ok and call.counts is not None and call.counts.applied == len(call.sent):
            told.update(one.event_id for one in call.sent)
    for name, count in told.items():
        if count > 1:
            yield Violation(Law.DOUBLED, f"event {name} was acknowledged as applied {count} times")


def _answers_counted(history: History, folded: _Folded) -> Iterator[Violation]:
    """Every answered batch has a record of its own, and its counts are those of that record."""
    answered: Counter[tuple[str, ...]] = Counter()
    for call in history.calls:
        if not call.is_ok or not call.sent or call.repeated:
            continue
        pieces = _pieces(call.sent, folded)
        if any(not folded.by_id.get(one.event_id) for one in call.sent):
            continue  # reported as lost
        answered.update(pieces)
        for piece in pieces:
            if answered[piece] > len(folded.records.get(piece, [])):
                yield Violation(Law.LOST, f"the batch {piece[:3]} … was answered more often than it stands in the log")
        if call.counts is not None and not _may_count(call, [folded.records.get(piece, []) for piece in pieces]):
            yield Violation(Law.MISCOUNTED, f"{call.kind} of {len(call.sent)} from {pieces[0][0]}: told {call.counts}")


def _pieces(sent: tuple[Sent, ...], folded: _Folded) -> list[tuple[str, ...]]:
    """Cut a call's events by partition, as the edge does."""
    by_partition: dict[int, list[str]] = defaultdict(list)
    for one in sent:
        by_partition[folded.partition_of.get(one.event_id, -1)].append(one.event_id)
    return [tuple(names) for names in by_partition.values()]


def _may_count(call: Call, records: list[list[Counter[str]]]) -> bool:
    """Return whether the answer's counts can be those of one record of each piece."""
    assert call.counts is not None
    told = (call.counts.applied, call.counts.duplicate, call.counts.late, call.counts.rejected)
    possible = {(0, 0, 0, 0)}
    for candidates in records:
        each = {_four(counted) for counted in candidates}
        possible = {
            (a + one[0], d + one[1], late + one[2], r + one[3]) for a, d, late, r in possible for one in each
        } or possible
    return told in possible


def _four(counted: Counter[str]) -> tuple[int, int, int, int]:
    known = counted["APPLIED"], counted["DUPLICATE"], counted["LATE"]
    return *known, sum(counted.values()) - sum(known)


def _failed_means_failed(history: History, folded: _Folded) -> Iterator[Violation]:
    """What every caller was told had not been carried out has not been."""
    results: dict[str, set[Result]] = defaultdict(set)
    for call in history.calls:
        for one in call.sent:
            results[one.event_id].add(call.result)
    for name, found in results.items():
        if found == {Result.FAILED} and name in folded.by_id:
            yield Violation(Law.NOT_SENT, f"event {name} stands in the log, and every call with it failed")


def _reads(history: History, folded: _Folded) -> Iterator[Violation]:
    """A decision knows all that was acknowledged to anyone before its request was first sent."""
    first_sent: dict[str, int] = {}
    for call in history.of(Kind.DECIDE):
        first_sent.setdefault(call.request_id, call.began)
    acknowledged = _acknowledged_by_household(history)
    counts = [_CountFeatures(replay) for replay in folded.replays]
    for one in folded.decisions:
        decision = one.decision
        household = decision.household.decode(errors="backslashreplace")
        began = first_sent.get(decision.request_id) if decision.request_id else None
        known = [] if began is None else [name for ended, name in acknowledged[household] if ended < began]
        for name in known:
            applied = folded.applied.get(name)
            if applied is not None and applied.offset >= one.offset:
                yield Violation(
                    Law.STALE_READ,
                    f"decision {decision.decision_id} stands at {one.offset}, event {name}, acknowledged before its "
                    f"request was sent, at {applied.offset}",
                )
        for feature in counts:
            yield from feature.violations(one, [folded.applied[name] for name in known if name in folded.applied])


def _acknowledged_by_household(history: History) -> dict[str, list[tuple[int, str]]]:
    """Return per household (end of the first call that acknowledged it, event id)."""
    ended: dict[tuple[str, str], int] = {}
    for call in history.calls:
        if call.is_ok and call.ended is not None:
            for one in call.sent:
                key = (one.household, one.event_id)
                ended[key] = min(call.ended, ended.get(key, call.ended))
    found: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for (household, name), end in ended.items():
        found[household].append((end, name))
    return found


class _CountFeatures:
    """Features that simply count: what a decision saw of them lies between what it had to know and what was there."""

    def __init__(self, replay: PlainReplay) -> None:
        self._decision_ids = {one.decision.decision_id for one in replay.decisions}
        self._columns: list[tuple[int, str, Scope, set[str]]] = []
        self._offsets: dict[tuple[str, bytes, bytes], list[int]] = defaultdict(list)
        if replay.state is None:
            return
        plan = replay.state.plan
        for column, index in enumerate(plan.scored_features):
            feature = plan.features[index]
            if feature.kind is FeatureKind.COUNT and feature.where == NONE:
                kinds = {plan.event_types[event].name for event in feature.events}
                self._columns.append((column, feature.name, feature.scope, kinds))
        for one in replay.occurrences:
            if one.status is Status.APPLIED:
                self._offsets[one.kind, one.household, b""].append(one.offset)
                if one.member:
                    self._offsets[one.kind, one.household, one.member].append(one.offset)

    def violations(self, one: FoldedDecision, known: list[Occurrence]) -> Iterator[Violation]:
        decision = one.decision
        if decision.decision_id not in self._decision_ids:
            return
        for column, name, scope, kinds in self._columns:
            member = decision.member if scope is Scope.MEMBER else b""
            if scope is Scope.MEMBER and not member:
                continue
            least = sum(event.kind in kinds and (not member or event.member == member) for event in known)
            most = sum(bisect_left(self._offsets[kind, decision.household, member], one.offset) for kind in kinds)
            seen = float(decision.state_vector[column]) if column < len(decision.state_vector) else np.nan
            if np.isnan(seen) and least == 0:
                continue
            if not least <= seen <= most:
                yield Violation(
                    Law.STALE_READ if not seen >= least else Law.DOUBLED,
                    f"decision {decision.decision_id} saw {name} = {seen:g}, acknowledged {least}, in the log {most}",
                )


def _order(history: History, folded: _Folded) -> Iterator[Violation]:
    """Of two events of a household, one acknowledged before the other was first sent stands before it."""
    sent: dict[str, dict[str, int]] = defaultdict(dict)
    for call in history.calls:
        for one in call.sent:
            sent[one.household].setdefault(one.event_id, call.began)
    acknowledged = _acknowledged_by_household(history)
    for household, first_sent in sent.items():
        ends = sorted(acknowledged.get(household, []))
        newest, at = (-1, -1), 0
        for name, began in sorted(first_sent.items(), key=lambda pair: pair[1]):
            while at < len(ends) and ends[at][0] < began:
                known = folded.applied.get(ends[at][1])
                if known is not None and known.position > newest:
                    newest = known.position
                at += 1
            own = folded.applied.get(name)
            if own is not None and own.position < newest:
                yield Violation(
                    Law.INVERTED,
                    f"{household}: event {name} at {own.position}, sent after the one at {newest} was acknowledged",
                )


def _requests(history: History, folded: _Folded) -> Iterator[Violation]:
    """One request id, one decision: in every answer and in the log."""
    told: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for call in history.of(Kind.DECIDE):
        if call.is_ok:
            told[call.request_id].add((call.decision_id, call.offered_action))
    for request_id, answers in told.items():
        decision_ids = {decision_id for decision_id, _ in answers}
        actions = {action for _, action in answers if action}
        if len(decision_ids) > 1:
            yield Violation(Law.TWO_DECISIONS, f"request {request_id} was answered with {sorted(decision_ids)}")
        elif len(actions) > 1:
            yield Violation(Law.TWO_DECISIONS, f"request {request_id} was answered with actions {sorted(actions)}")
        for decision_id in decision_ids:
            if decision_id not in folded.by_decision:
                yield Violation(
                    Law.LOST, f"decision {decision_id} of request {request_id} was told and is not in force"
                )
    for request_id, found in folded.by_request.items():
        if len(found) > 1:
            ids = [one.decision.decision_id for one in found]
            yield Violation(Law.TWO_DECISIONS, f"request {request_id} has decisions {ids} in force")


def _moments(folded: _Folded, *, is_at_rest: bool) -> Iterator[Violation]:
    """Each moment is settled by one decision in force, and in the end by exactly one."""
    settled: dict[str, list[str]] = defaultdict(list)
    for one in folded.decisions:
        for moment in one.decision.moments:
            settled[moment.moment_id].append(one.decision.decision_id)
    for moment_id, decisions in settled.items():
        if len(decisions) > 1:
            yield Violation(Law.TWO_SETTLEMENTS, f"moment {moment_id} is settled by {decisions}")
    for replay in folded.replays if is_at_rest else ():
        for home in replay.state.ledgers.values() if replay.state is not None else ():
            for pending in home.pending:
                yield Violation(Law.FORGOTTEN_MOMENT, f"moment {pending.id} is still pending")


def _declines(history: History) -> Iterator[Violation]:
    """What a household declined, offer or family, no answer offers any more that was asked for after the decline.

    Within the offer's and the family's time, which is days: for suites whose clock does not jump so far.
    """
    offered = {call.offered_action: call for call in history.of(Kind.DECIDE) if call.is_ok and call.offered_action}
    declined = [
        (call.ended, call.household, offered[call.action_id])
        for call in history.of(Kind.REPORT)
        if call.is_ok and call.effective and call.outcome == "decline" and call.action_id in offered
    ]
    by_household: dict[str, list[Call]] = defaultdict(list)
    for call in history.of(Kind.DECIDE):
        if call.is_ok and call.offered_status == "live":
            by_household[call.household].append(call)
    for ended, household, about in declined:
        for call in by_household[household]:
            is_same = call.offered_offer == about.offered_offer or call.offered_family == about.offered_family
            if ended is not None and call.began > ended and is_same:
                yield Violation(
                    Law.OFFERED_AFTER_DECLINE,
                    f"{household} declined {about.offered_offer} ({about.offered_family}) and was offered "
                    f"{call.offered_offer} ({call.offered_family}) on {call.channel} by request {call.request_id}",
                )


_LAW_BY_RULE = {
    "decline": Law.OFFERED_AFTER_DECLINE,
    "cap": Law.CAP,
    "quiet": Law.QUIET_HOURS,
    "consent": Law.CONSENT,
}


def _rules(folded: _Folded) -> Iterator[Violation]:
    """No decision in force and no hand-over breaks a cap, quiet hours, consent or a decline, as the log stood then."""
    for replay in folded.replays:
        for breach in replay.state.breaches if replay.state is not None else ():
            yield Violation(_LAW_BY_RULE[breach.rule], f"decision {breach.decision_id} {breach.what}")


# --- third judge: the gateway's ledger --------------------------------------------------------------------------------


def gateway_violations(ledger: GatewayLedger, replays: Iterable[PlainReplay]) -> Iterator[Violation]:
    """Compare what a gateway was handed with what was accepted for sending."""
    folded = _Folded(replays)
    keys: dict[str, set[str]] = defaultdict(set)
    decisions: dict[str, set[str]] = defaultdict(set)
    for delivery in ledger.deliveries:
        keys[delivery.decision_id].add(delivery.action_id)
        decisions[delivery.action_id].add(delivery.decision_id)
    for decision_id, found in keys.items():
        if len(found) > 1:
            yield Violation(Law.TWO_KEYS, f"decision {decision_id} was handed over as {sorted(found)}")
    for action_id, found in decisions.items():
        if len(found) > 1:
            yield Violation(Law.TWO_KEYS, f"key {action_id} was used for decisions {sorted(found)}")
    by_moment: dict[str, set[str]] = defaultdict(set)
    for decision_id, found in keys.items():
        known = folded.by_decision.get(decision_id)
        for moment in known.decision.moments if known is not None else ():
            by_moment[moment.moment_id] |= found
    for moment_id, found in by_moment.items():
        if len(found) > 1:
            yield Violation(Law.TWO_KEYS, f"moment {moment_id} was acted upon under keys {sorted(found)}")
    yield from _keys_known(ledger, folded)
    yield from _handed_over(ledger, folded)


def _keys_known(ledger: GatewayLedger, folded: _Folded) -> Iterator[Violation]:
    handed = {one for replay in folded.replays if replay.state is not None for one in replay.state.handed}
    for delivery in ledger.deliveries:
        known = folded.by_decision.get(delivery.decision_id)
        if known is None:
            yield Violation(Law.UNKNOWN_KEY, f"{delivery.action_id}: decision {delivery.decision_id} is not in force")
        elif not known.decision.send_channel or known.decision.withheld:
            yield Violation(Law.UNKNOWN_KEY, f"{delivery.action_id} was not accepted for sending")
        elif known.decision.slate[0].action_id != delivery.action_id:
            yield Violation(Law.UNKNOWN_KEY, f"{delivery.action_id} is not the key of decision {delivery.decision_id}")
        elif (delivery.action_id, delivery.channel) not in handed:
            yield Violation(Law.UNRECORDED, f"{delivery.action_id} was received on {delivery.channel}")


def _handed_over(ledger: GatewayLedger, folded: _Folded) -> Iterator[Violation]:
    """Whatever was accepted for sending was handed over, or the log says why not."""
    for replay in folded.replays:
        for one in replay.decisions:
            decision = one.decision
            if not one.is_in_force or not decision.send_channel or decision.withheld or not decision.slate:
                continue
            key = decision.slate[0].action_id
            state = replay.now
            is_explained = key in state.outbox or state.gone.get(key) in ("withdrawn", "expired", "undelivered")
            if key not in ledger.keys and not is_explained:
                how = state.gone.get(key, "nowhere to be found")
                yield Violation(Law.NOT_HANDED_OVER, f"{key} of decision {decision.decision_id} is {how}")
