"""The words in which the town speaks: event types, fields and named values, looked up in the plan it is to speak to."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from household.plan import FieldKind, Plan

FIELDS_BY_EVENT: Mapping[str, tuple[str, ...]] = {
    "network.call": ("minutes",),
    "network.text": (),
    "network.data_session": ("megabytes",),
    "network.streaming_session": ("streaming_pack", "minutes", "evening"),
    "network.gaming_session": ("minutes", "evening"),
    "network.outage": ("minutes", "cell"),
    "network.speed_measured": ("mbps", "cell"),
    "network.roaming_started": ("roaming_zone",),
    "network.competitor_sim_seen": ("device",),
    "network.device_seen_home": ("device",),
    "billing.bill_issued": ("amount_minor",),
    "billing.bill_paid": ("amount_minor",),
    "billing.bill_late": ("amount_minor",),
    "billing.topup": ("amount_minor",),
    "billing.product_activated": ("product",),
    "billing.product_deactivated": ("product",),
    "billing.price_plan_changed": ("price_plan",),
    "billing.profile_updated": ("line_type",),
    "app.session_started": (),
    "app.screen_viewed": ("screen",),
    "app.pricing_viewed": (),
    "app.balance_check": (),
    "app.self_care": (),
    "app.add_line_started": (),
    "app.consent_changed": ("marketing",),
    "app.opted_out": (),
    "web.visit": (),
    "wallet.activated": (),
    "wallet.payment": ("amount_minor", "merchant_category"),
    "wallet.topup": ("amount_minor",),
    "wallet.refund": ("amount_minor",),
    "call_centre.contact": ("contact_reason",),
    "call_centre.complaint": ("contact_reason",),
    "ivr.call_started": (),
    "store.visit": (),
    "partner.purchase": ("amount_minor", "partner"),
    "partner.redemption": ("partner",),
}
"""Every event type the town needs, and the fields it fills in."""

FIELDS_IF_DECLARED: Mapping[str, tuple[str, ...]] = {
    "billing.contract_due": (),
    "billing.contract_renewed": (),
    "billing.refund": ("amount_minor",),
    "call_centre.resolved": ("case",),
}
"""What it speaks of where a playbook knows it."""

WEIGHTS_BY_FIELD: Mapping[str, Mapping[str, float]] = {
    "merchant_category": {
        "groceries": 0.30,
        "coffee_shop": 0.15,
        "restaurant": 0.12,
        "fuel": 0.09,
        "transport": 0.11,
        "airport": 0.01,
        "streaming": 0.05,
        "fashion": 0.06,
        "electronics": 0.03,
        "other": 0.08,
    },
    "screen": {"home": 0.45, "usage": 0.22, "bill": 0.10, "shop": 0.11, "support": 0.05, "settings": 0.07},
    "contact_reason": {"bill": 0.3, "network": 0.2, "product": 0.2, "moving": 0.05, "cancel": 0.05, "other": 0.2},
    "partner": {"fuel_station": 0.35, "cinema": 0.10, "supermarket": 0.35, "coffee_chain": 0.15, "other": 0.05},
    "roaming_zone": {"neighbours": 0.5, "continent": 0.35, "world": 0.15},
    "price_plan": {"flex": 0.4, "smart": 0.4, "unlimited": 0.2},
}
"""How often each named value is drawn."""

VALUES_BY_FIELD: Mapping[str, tuple[str, ...]] = {
    "line_type": ("prepaid", "postpaid"),
    "product": ("mobile", "extra_line", "broadband", "content", "smart_home", "gaming", "wallet_card"),
    **{field: tuple(weights) for field, weights in WEIGHTS_BY_FIELD.items()},
}
"""Named values that the town refers to by name."""

CHANNEL_BY_CONTACT: Mapping[str, str] = {
    "app.session_started": "app",
    "web.visit": "web",
    "ivr.call_started": "ivr",
    "call_centre.contact": "agent",
    "store.visit": "store",
    "app.balance_check": "app",
}
"""Event types that say that a member is on a channel now."""

BALANCE_CHECK = "app.balance_check"
TEXT_MENU = "ussd"
"""Where members without the app check their balance."""


class PlaybookMismatch(Exception):
    """The playbook lacks words that the town needs; all of them are named."""


@dataclass(frozen=True, slots=True)
class TownVocabulary:
    """Names of one plan as the numbers that columns hold."""

    plan: Plan
    event: Mapping[str, int]
    field: Mapping[str, int]
    value: Mapping[tuple[str, str], int]
    """(field, name of the value) → its index."""
    pack_count: int
    """How many streaming packs the plan names."""

    def drawn(self, field: str, uniforms: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a named value of a field for each uniform number, as its index."""
        weights = WEIGHTS_BY_FIELD[field]
        indices = np.array([self.value[field, name] for name in weights], np.float64)
        cumulative = np.cumsum(list(weights.values()))
        return indices[np.searchsorted(cumulative / cumulative[-1], uniforms, side="right")]


def read_vocabulary(plan: Plan) -> TownVocabulary:
    """Return the town's words in this plan.

    Raises:
        PlaybookMismatch: an event type, field or value is missing, or a field is required that the town does not fill.
    """
    problems = [*_event_problems(plan), *_value_problems(plan)]
    missing_channels = {*CHANNEL_BY_CONTACT.values(), TEXT_MENU} - set(plan.channel_by_name)
    problems += [f"channel '{name}' is not declared" for name in sorted(missing_channels)]
    if problems:
        raise PlaybookMismatch(f"playbook '{plan.name}' does not fit the town: " + "; ".join(problems))
    known = {**FIELDS_BY_EVENT, **_declared(plan)}
    return TownVocabulary(
        plan=plan,
        event={name: plan.event_type_by_name[name] for name in known},
        field={name: plan.field_by_name[name] for fields in known.values() for name in fields},
        value={
            (field, name): plan.fields[plan.field_by_name[field]].values.index(name)
            for field, names in VALUES_BY_FIELD.items()
            for name in names
        },
        pack_count=len(plan.fields[plan.field_by_name["streaming_pack"]].values),
    )


def _declared(plan: Plan) -> dict[str, tuple[str, ...]]:
    """Return what more the plan declares as the town would say it."""
    found = {}
    for name, fields in FIELDS_IF_DECLARED.items():
        if name in plan.event_type_by_name:
            uses = plan.event_types[plan.event_type_by_name[name]].fields
            carried = {plan.fields[use.field].name for use in uses}
            required = {plan.fields[use.field].name for use in uses if use.required}
            if required <= set(fields) <= carried:
                found[name] = fields
    return found


def _event_problems(plan: Plan) -> list[str]:
    problems = []
    for name, filled in FIELDS_BY_EVENT.items():
        if name not in plan.event_type_by_name:
            problems.append(f"event '{name}' is not declared")
            continue
        uses = plan.event_types[plan.event_type_by_name[name]].fields
        carried = {plan.fields[use.field].name for use in uses}
        required = {plan.fields[use.field].name for use in uses if use.required}
        problems += [f"event '{name}' does not carry '{field}'" for field in filled if field not in carried]
        problems += [
            f"event '{name}' requires '{field}', which the town does not know"
            for field in sorted(required - set(filled))
        ]
    return problems


def _value_problems(plan: Plan) -> list[str]:
    problems = []
    for field, names in VALUES_BY_FIELD.items():
        index = plan.field_by_name.get(field)
        declared = plan.fields[index].values if index is not None else ()
        problems += [f"field '{field}' does not list '{name}'" for name in names if name not in declared]
    pack = plan.field_by_name.get("streaming_pack")
    if pack is None or plan.fields[pack].kind is not FieldKind.ENUM:
        problems.append("field 'streaming_pack' does not list packs")
    return problems
