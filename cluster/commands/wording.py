"""How times, amounts, actions and features read for people."""

import math
from datetime import UTC

from google.protobuf.timestamp_pb2 import Timestamp

from hearth.v1 import decision_pb2, household_pb2


def when(time: Timestamp) -> str:
    """Return a time in UTC, to the second; "-" for none."""
    if not time.seconds and not time.nanos:
        return "-"
    return time.ToDatetime(tzinfo=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def amount(minor: int, currency: str) -> str:
    """Return an amount of money in major units.

    >>> amount(1299, "EUR")
    '12.99 EUR'
    """
    sign = "-" if minor < 0 else ""
    return f"{sign}{abs(minor) // 100}.{abs(minor) % 100:02d} {currency}".rstrip()


def status_name(status: "decision_pb2.ActionStatus") -> str:
    """Return live, accepted, declined …"""
    return decision_pb2.ActionStatus.Name(status).removeprefix("ACTION_STATUS_").lower()


def action_lines(action: decision_pb2.Action) -> list[str]:
    """Return what to show, with its price and how long it holds."""
    treatment = action.treatment
    lines = [f"{action.offer} ({action.kind}, {action.family}): {amount(action.price_minor, action.currency)}"]
    if treatment.text:
        lines.append(f"  {treatment.channel}: {treatment.text}")
    if treatment.parameters:
        lines.append("  " + ", ".join(f"{name}={value}" for name, value in sorted(treatment.parameters.items())))
    journey = f", journey {action.journey}" if action.journey else ""
    lines.append(
        f"  action {action.action_id}, {status_name(action.status)}, until {when(action.valid_until)}{journey}"
    )
    return lines


def feature_text(feature: household_pb2.FeatureValue) -> str:
    """Return the value of a feature with its unit."""
    if not feature.HasField("value"):
        return feature.label or "not known"
    if feature.label:
        return feature.label
    if math.isinf(feature.value):
        return "never"
    return f"{feature.value:,.6g}{' ' + feature.unit if feature.unit else ''}"
