"""How times, actions and features read for people."""

from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from google.protobuf.timestamp_pb2 import Timestamp

from hearth.v1 import decision_pb2, household_pb2
from household.money import amount_text, worth_text

NEVER_LEAST = 9.99e29
"""From here on a reading is no number: infinity, or the 1e30 that stands for it where infinities may not be."""


def zone_of(name: str) -> tzinfo:
    """Return a time zone by its name; UTC for none, and for one that this machine does not know."""
    try:
        return ZoneInfo(name) if name else UTC
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def when(time: Timestamp, zone: tzinfo = UTC) -> str:
    """Return a time in a zone, to the second; "-" for none."""
    if not time.seconds and not time.nanos:
        return "-"
    return time.ToDatetime(tzinfo=UTC).astimezone(zone).strftime("%Y-%m-%d %H:%M:%S %Z")


def status_name(status: "decision_pb2.ActionStatus") -> str:
    """Return live, accepted, declined …"""
    if status == decision_pb2.ACTION_STATUS_UNSPECIFIED:
        return "settled so long ago that how is not known any more"
    return decision_pb2.ActionStatus.Name(status).removeprefix("ACTION_STATUS_").lower()


def action_lines(action: decision_pb2.Action, zone: tzinfo = UTC) -> list[str]:
    """Return what to show, with its price and how long it holds."""
    treatment = action.treatment
    kind = f" ({action.kind}, {action.family})" if action.kind else ""
    lines = [f"{action.offer}{kind}: {amount_text(action.price_minor, action.currency)}"]
    if treatment.text:
        lines.append(f"  {treatment.channel}: {treatment.text}")
    if treatment.parameters:
        lines.append("  " + ", ".join(f"{name}={value}" for name, value in sorted(treatment.parameters.items())))
    journey = f", journey {action.journey}" if action.journey else ""
    because = f" ({action.withdrawn_because})" if action.withdrawn_because else ""
    member = f", {action.member}'s own" if action.member else ""
    status = f"{status_name(action.status)}{because}"
    lines.append(f"  action {action.action_id}, {status}, until {when(action.valid_until, zone)}{journey}{member}")
    return lines


def terms_text(terms: household_pb2.Terms, currency: str) -> str:
    """Return what a value is made of, as a sum; what says nothing is left out."""
    is_uplift = terms.HasField("uplift")
    chance = f"{terms.uplift:+.4f} uplift" if is_uplift else f"{terms.probability:.4f}"
    factors = [chance, worth_text(terms.increment, currency) + (" gross" if terms.gross else "")]
    factors += [f"{terms.context:.3f} context"] if terms.context != 1.0 else []
    factors += [f"lever {terms.lever:g}"] if terms.lever != 1.0 else []
    factors += [f"{terms.stay:.3f} stay"] if terms.HasField("stay") else []
    taken = [worth_text(terms.cost, currency)] if terms.cost else []
    taken += [f"{worth_text(one.minor, currency)} for {one.of}" for one in terms.prices]
    shown = f" (shown {terms.shown} times)" if terms.shown else ""
    return " − ".join([" × ".join(factors), *taken]) + shown


def score_text(score: float) -> str:
    """Return a score as people read it: a probability with four digits, an amount with two."""
    return f"{score:.4f}" if abs(score) <= 1 else f"{score:,.2f}"


def term_scores_text(scored: household_pb2.TermScores, record: household_pb2.DecisionRecord) -> str:
    """Return what the model of a term said of the candidates, and by which version."""
    offers = [one.offer for one in record.candidates if one.HasField("score")]
    if len(set(scored.scores)) == 1 and scored.term == "churn":
        told = f": {score_text(scored.scores[0])}"
    else:
        pairs = zip(offers, scored.scores, strict=False)
        told = "".join(f"{', ' if at else ': '}{offer} {score_text(one)}" for at, (offer, one) in enumerate(pairs))
    told = told or ": nothing, so the playbook counts"
    why = f" (degraded{': ' + scored.why if scored.why else ''})" if scored.degraded else ""
    return f"{scored.term} by {scored.model_version}{way_text(scored.scored_by)}{told}{why}"


def feature_text(feature: household_pb2.FeatureValue) -> str:
    """Return the value of a feature with its unit."""
    if feature.label:
        return feature.label
    if not feature.HasField("value"):
        return "not known"
    if feature.value >= NEVER_LEAST:
        return "never"
    return f"{feature.value:,.6g}{' ' + feature.unit if feature.unit else ''}"


_WAYS = {decision_pb2.SCORED_BY_SERVE: " on Serve", decision_pb2.SCORED_BY_SHARD: " in the shard"}


def way_text(scored_by: "decision_pb2.ScoredBy") -> str:
    """Return which way a model's scores came, to follow its version; empty for the priors and for no scores."""
    return _WAYS.get(scored_by, "")
