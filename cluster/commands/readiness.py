"""`hearth readiness`: whether a journey is ready to be launched, and what is wanting."""

from dataclasses import asdict, dataclass
from pathlib import Path

from cluster.commands.models import plain
from cluster.config import HearthConfig
from cluster.errors import UsageWrong
from cluster.instants import instant_us
from cluster.launching import allow, check_reason, overrides
from cluster.measured import read_measured
from cluster.output import print_json
from cluster.playbook_in_force import playbook_in_force
from household.money import amount_text
from insight.measures.knowledge import ask
from insight.readiness import JourneyReadiness, readiness, types_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadinessQuestion:
    """What is asked for, as it was written."""

    journey: str
    """Empty for all."""
    as_of: str | None
    effect: float | None
    without_control: str | None
    definitions: Path | None


def show_readiness(config: HearthConfig, question: ReadinessQuestion, *, as_json: bool) -> int:
    """Print whether journeys of the playbook in force, or of `--playbook`, are ready; 1 where one is not."""
    plan = playbook_in_force(config).plan
    known = [one.name for one in plan.journeys]
    if question.journey and question.journey not in known:
        raise UsageWrong(f"there is no journey {question.journey!r}; the playbook has {', '.join(known) or 'none'}")
    if question.effect is not None and not 0 < question.effect < 1:
        raise UsageWrong(f"--effect {question.effect:g} is no share; it is between 0 and 1, e.g. 0.02")
    if question.without_control is not None:
        if not question.journey:
            raise UsageWrong("--without-control is about one journey: name it")
        check_reason(question.without_control)
    journeys = [one for one in plan.journeys if question.journey in ("", one.name)]
    types = {name for journey in journeys for name in types_of(plan, journey)}
    log = read_measured(config, question.definitions, also=types)
    zone = plan.policy.time_zone
    time_us = log.end_us if question.as_of is None else instant_us(question.as_of, option="--as-of", zone=zone)
    asked = ask(log.facts, log.definitions, time_us=time_us, zone=zone, rules=plan.graph, journeys=log.journeys)
    if question.without_control is not None:
        # Once all else that was written holds: a word that stays is not left behind by a command that was refused.
        allow(config.data_dir, [question.journey], question.without_control, command="hearth readiness")
    allowed = overrides(config.data_dir)
    found = [
        readiness(plan, journey, asked, effect=question.effect, override=allowed.get(journey.name, ""))
        for journey in journeys
    ]
    if as_json:
        told = [{**_plain(one), "is_ready": one.is_ready} for one in found]
        print_json({"playbook_version": plan.version, "currency": plan.currency, "journeys": told})
    else:
        for one in found:
            _print(one, time_us, plan.currency)
    return 0 if all(one.is_ready for one in found) else 1


def _plain(one: JourneyReadiness) -> dict[str, object]:
    told = plain(asdict(one))
    assert isinstance(told, dict)
    return told


def _print(one: JourneyReadiness, time_us: int, currency: str) -> None:
    print(f"{one.journey}: {'ready' if one.is_ready else 'NOT READY'}")
    for wanting in one.wanting:
        print(f"  wanting: {wanting}")
    for remark in one.remarks:
        print(f"  note: {remark}")
    named = [f"owner {one.owner}", f"KPI {one.kpi}"] if one.owner else []
    named += [f"{channel}: {owner}" for channel, owner in sorted(one.channel_owners.items())]
    if named:
        print(f"  {', '.join(named)}")
    print("  signals of the last 30 days: type, events, households, newest, median delay")
    for signal in sorted(one.signals, key=lambda seen: (not seen.is_trigger, seen.type)):
        newest = "never" if signal.newest_us is None else f"{(time_us - signal.newest_us) / 3_600e6:,.1f} h ago"
        delay = "-" if signal.delay_us is None else f"{signal.delay_us / 1e6:,.1f} s"
        mark = "*" if signal.is_trigger else " "
        print(f"    {mark} {signal.type:<34} {signal.count:>11,} {signal.households:>10,}  {newest:>12}  {delay:>10}")
    value, expected = (amount_text(round(minor), currency) for minor in (one.value_minor, one.expected_minor))
    print(f"  {one.entries:,} households entered it; expected {value} each, {expected} in 30 days")
    if one.needed_once is not None and one.needed_anytime is not None:
        days = "" if one.days_needed is None else f", {one.days_needed:,.0f} days at this pace"
        print(
            f"  control {one.control_share:.0%}; a share of {one.effect:.1%} more shows with 80 % power after "
            f"{one.needed_once:,} households, or {one.needed_anytime:,} looked at whenever one likes{days}"
        )
