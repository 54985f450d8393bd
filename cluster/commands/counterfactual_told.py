"""What a counterfactual simulation tells: for people, and as JSON; and what can be concluded from it, in words."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal

from cluster.commands.counterfactual import (
    ACCEPTED,
    EARNED,
    Counterfactual,
    CounterfactualAsked,
    counterfactual_of,
)
from cluster.commands.simulation import pseudonym_of
from cluster.config import HearthConfig
from cluster.output import print_json, say
from household.deciding.reasons import Reason
from household.money import minor_digits
from insight.evaluation.anew import ValuedAnew
from insight.intervals import Estimate
from playbooks.simulating.tally import SampledHousehold, SimulationCounts

CAPS = (Reason.CONTACT_CAP.value, "RULE:", "BUDGET:")
"""How what is told as a cap that was hit begins."""

CANNOT_KNOW = (
    "People did in this log what they did after what they were really told; under the other playbook they might have",
    "done otherwise, and nothing here knows that. Answers are taken over only where the very same offer, at the same",
    "price and on the same channel, was said here as well; what else is said stays unanswered. The value is that of",
    "what comes first in decisions that the log has, each with all before it as it was; contacts that only the other",
    "playbook makes have no answer, and are not in it.",
)
"""What can and cannot be concluded."""


def simulate_counterfactual(config: HearthConfig, asked: CounterfactualAsked, *, as_json: bool) -> int:
    """Print what another playbook would have done; exit code 1 where the data cannot tell what it is worth."""
    found = counterfactual_of(config, asked)
    value = found.value
    assert value is not None, "it has just been valued"

    def pseudonym(household: bytes) -> str:
        return pseudonym_of(config, household)

    if as_json:
        print_json(_plain(found, value, asked, pseudonym))
    else:
        for line in _lines(found, value, asked, pseudonym):
            print(line)
    if value.refusal is not None:
        say(f"hearth: the data cannot tell what it is worth: {value.refusal.why}")
    return 0 if value.refusal is None else 1


# --- for people -------------------------------------------------------------------------------------------------------


def _lines(
    found: Counterfactual, value: ValuedAnew, asked: CounterfactualAsked, pseudonym: Callable[[bytes], str]
) -> Iterator[str]:
    before, after, contacts = found.before, found.after, found.contacts
    yield f"playbook {found.plan.name}, version {found.plan.version}"
    yield f"  over a log that was decided by {', '.join(found.logged_versions)}"
    yield f"  from {_day(found.from_us)} to {_day(found.to_us)}, {found.partitions} partitions"
    if found.logged_households:
        yield (
            f"  simulated by its own playbooks, the log's contacts reach {found.logged_and_before:,} of the "
            f"{found.logged_households:,} households that were really sent something"
        )
    yield f"who is sent something: {contacts.both:,} households by both"
    for word, count, by_journey, some in (
        ("newly", contacts.newly, contacts.newly_by_journey, contacts.newly_sampled),
        ("no longer", contacts.no_longer, contacts.no_longer_by_journey, contacts.no_longer_sampled),
    ):
        yield f"  {word}: {count:,}" + (f" ({_counted(by_journey)})" if count else "")
        for one in some:
            yield f"    {pseudonym(one.household)}  {_sampled(one)}"
    yield "what is said                              log's own       other"
    yield from _compared("sent", before.sent, after.sent)
    yield from _compared("told to who asks", before.answered, after.answered)
    yield from _compared("withheld from control", before.withheld, after.withheld)
    yield from _compared("caps hit", *(_caps(one) for one in (before, after)))
    money = _money(found)
    yield f"  {'cost':<38}{money(before.cost_minor):>13}{money(after.cost_minor):>12}"
    yield from _reach(before, after)
    yield from _value(found, value, asked, pseudonym)
    yield from CANNOT_KNOW
    left = after.answers_used + after.answers_left
    if left:
        yield f"Of {left:,} answers in the log {after.answers_used:,} are about something that the other says as well."


def _sampled(one: SampledHousehold) -> str:
    said = one.said
    why = ", ".join(said.reasons)
    other = ", ".join(one.why_not) or "nothing of this journey to decide"
    return f"{said.offer} on {said.channel} ({said.journey or 'a contact'}): {why}; otherwise: {other}"


def _counted(counts: Counter[str], most: int = 5) -> str:
    told = [f"{name or 'a contact'} {count:,}" for name, count in counts.most_common(most)]
    return ", ".join(told) + (", …" if len(counts) > most else "")


def _compared(what: str, before: Counter[str], after: Counter[str]) -> Iterator[str]:
    for name in sorted(before.keys() | after.keys()):
        yield f"  {f'{what}: {name}' if name else what:<38}{before[name]:>13,}{after[name]:>12,}"


def _caps(counts: SimulationCounts) -> Counter[str]:
    return Counter({name: count for name, count in counts.against.items() if name.startswith(CAPS)})


def _reach(before: SimulationCounts, after: SimulationCounts) -> Iterator[str]:
    journeys = dict.fromkeys([*before.moments, *after.moments, *before.entered, *after.entered])
    if journeys:
        yield "how far journeys reach"
    for journey in sorted(journeys):
        yield f"  {f'{journey}: moments':<38}{before.moments[journey]:>13,}{after.moments[journey]:>12,}"
        if before.entered[journey] or after.entered[journey]:
            yield f"  {f'{journey}: entered':<38}{before.entered[journey]:>13,}{after.entered[journey]:>12,}"
        states = dict.fromkeys(one for one in [*after.reached, *before.reached] if one[0] == journey)
        for key in states:
            yield f"  {f'{journey}: in {key[1]}':<38}{before.reached[key]:>13,}{after.reached[key]:>12,}"
        for key in sorted({one for one in [*after.ended, *before.ended] if one[0] == journey}):
            yield f"  {f'{journey}: out, {key[1]}':<38}{before.ended[key]:>13,}{after.ended[key]:>12,}"


def _value(
    found: Counterfactual, value: ValuedAnew, asked: CounterfactualAsked, pseudonym: Callable[[bytes], str]
) -> Iterator[str]:
    yield (
        f"what it is worth, on {value.decisions:,} decisions of {value.households:,} households; in "
        f"{value.says_nothing:,} of them it would say nothing"
    )
    if found.households_share < 1:
        yield f"  of a share of {found.households_share:g} of all households: there are too many decisions"
    if value.left_out:
        yield "  left out: " + ", ".join(f"{count:,} {reason}" for reason, count in sorted(value.left_out.items()))
    if found.without_counterpart:
        told = _counted(found.without_counterpart)
        yield f"  not valued, since the log has no decision there: moments of {told}"
    for never in value.never_chosen[:5]:
        some = ", ".join(pseudonym(one) for one in never.some)
        yield (
            f"  propensity 0: {never.action}, which it wants in {never.decisions:,} decisions of "
            f"{never.households:,} households ({some}{', …' if never.households > len(never.some) else ''})"
        )
    overlap = value.overlap
    if overlap is not None:
        yield (
            f"  effective sample {overlap.effective_sample:,.1f}; what was done is what it might do in "
            f"{overlap.followed_share:.1%}; largest weight {overlap.largest_weight:.1f}, least propensity "
            f"{overlap.least_propensity:.4f}"
        )
    if value.dr is None or value.logged is None or value.difference is None:
        return
    scale = 10 ** minor_digits(found.plan.currency)
    yield f"  per decision, {asked.evaluation.confidence:.0%} interval"
    for name, unit, divisor in ((ACCEPTED, "accepted", 1), (EARNED, f"{found.plan.currency} earned", scale)):
        for word, one in (
            ("what was in force", value.logged[name]),
            ("the other, DR", value.dr[name]),
            ("difference", value.difference[name]),
        ):
            yield f"    {f'{word}, {unit}':<32}  {_span(one, divisor)}"


def _span(one: Estimate, divisor: int) -> str:
    return f"{one.value / divisor:.4f}  {one.low / divisor:.4f} to {one.high / divisor:.4f}"


def _money(found: Counterfactual) -> Callable[[int], str]:
    decimals = minor_digits(found.plan.currency)
    return lambda minor: f"{Decimal(minor).scaleb(-decimals):,.{decimals}f}"


def _day(time_us: int) -> str:
    return datetime.fromtimestamp(time_us / 1e6, tz=UTC).isoformat(timespec="minutes")


# --- as JSON ----------------------------------------------------------------------------------------------------------


def _plain(
    found: Counterfactual, value: ValuedAnew, asked: CounterfactualAsked, pseudonym: Callable[[bytes], str]
) -> dict[str, object]:
    contacts = found.contacts

    def some(samples: Sequence[SampledHousehold]) -> list[dict[str, object]]:
        return [
            {
                "household": pseudonym(one.household),
                "journey": one.said.journey or None,
                "offer": one.said.offer,
                "channel": one.said.channel,
                "time": datetime.fromtimestamp(one.said.at_us / 1e6, tz=UTC).isoformat(),
                "reasons": list(one.said.reasons),
                "otherwise": list(one.why_not),
            }
            for one in samples
        ]

    return {
        "mode": "counterfactual",
        "ok": value.refusal is None,
        "playbook": found.plan.name,
        "version": found.plan.version,
        "logged_versions": found.logged_versions,
        "from": _day(found.from_us),
        "to": _day(found.to_us),
        "partitions": found.partitions,
        "currency": found.plan.currency,
        "really_sent_households": found.logged_households,
        "really_sent_and_simulated": found.logged_and_before,
        "contacts": {
            "both": contacts.both,
            "newly": contacts.newly,
            "no_longer": contacts.no_longer,
            "newly_by_journey": dict(contacts.newly_by_journey),
            "no_longer_by_journey": dict(contacts.no_longer_by_journey),
            "newly_sampled": some(contacts.newly_sampled),
            "no_longer_sampled": some(contacts.no_longer_sampled),
        },
        "before": _counts(found.before),
        "after": _counts(found.after),
        "value": _valued(found, value, asked, pseudonym),
        "cannot_know": " ".join(CANNOT_KNOW),
    }


def _counts(counts: SimulationCounts) -> dict[str, object]:
    return {
        "decisions": counts.decisions,
        "households_sent": counts.households,
        "sent_by_class": dict(counts.sent),
        "answered_by_class": dict(counts.answered),
        "sent_by_journey": dict(counts.sent_by_journey),
        "withheld": dict(counts.withheld),
        "caps_hit": dict(_caps(counts)),
        "against": dict(counts.against),
        "cost_minor": counts.cost_minor,
        "moments": dict(counts.moments),
        "entered": dict(counts.entered),
        "reached": [{"journey": j, "state": s, "instances": n} for (j, s), n in sorted(counts.reached.items())],
        "ended": [{"journey": j, "how": h, "instances": n} for (j, h), n in sorted(counts.ended.items())],
        "answers_used": counts.answers_used,
        "answers_left": counts.answers_left,
        "channel_gone": counts.channel_gone,
    }


def _valued(
    found: Counterfactual, value: ValuedAnew, asked: CounterfactualAsked, pseudonym: Callable[[bytes], str]
) -> dict[str, object]:
    refusal = None
    if value.refusal is not None:
        refusal = {"reason": value.refusal.reason.value, "why": value.refusal.why}

    def told(each: "dict[str, Estimate] | None") -> dict[str, object] | None:
        return None if each is None else {name: asdict(one) for name, one in each.items()}

    return {
        "decisions": value.decisions,
        "households": value.households,
        "says_nothing": value.says_nothing,
        "households_share": found.households_share,
        "confidence": asked.evaluation.confidence,
        "effective_sample_min": asked.evaluation.effective_sample_min,
        "left_out": dict(value.left_out),
        "without_counterpart": dict(found.without_counterpart),
        "never_chosen": [
            {
                "action": one.action,
                "decisions": one.decisions,
                "households": one.households,
                "some": [pseudonym(each) for each in one.some],
            }
            for one in value.never_chosen
        ],
        "refusal": refusal,
        "overlap": None if value.overlap is None else asdict(value.overlap),
        "in_force": told(None if value.logged is None else dict(value.logged)),
        "dr": told(None if value.dr is None else dict(value.dr)),
        "difference": told(None if value.difference is None else dict(value.difference)),
    }
