"""Logs of signals to measure, as exports have them: events come again, late, are taken back, and households merge."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from loadtest.town import MONDAY_US, Town
from tests.insight.measures_reference import DAY, FAMILIES, Event
from tests.insight.town import shipped_plan

TIME = pa.timestamp("us", tz="UTC")
START = 1_790_000_000_000_000  # 2026-09-21
TEXTS = (
    "product",
    "line",
    "sale",
    "payment",
    "case",
    "action_id",
    "identifier",
    "subject",
    "subjects",
    "other",
    "cause",
    "evidence",
)


SOLD = ("billing.bill_issued", "billing.topup", "partner.purchase")
KINDS = (
    "billing.product_activated",
    "billing.product_deactivated",
    "wallet.activated",
    "wallet.closed",
    *SOLD,
    "wallet.payment",
    "network.data_session",
    "network.streaming_session",
    "network.gaming_session",
    "app.session_started",
    "partner.redemption",
    "billing.contract_due",
    "billing.contract_renewed",
    "call_centre.complaint",
    "call_centre.resolved",
    "something.else",
)


def exported(log: Sequence[Event]) -> pa.Table:
    """Return a log as `hearth log export --kind signals` writes it."""
    columns: dict[str, pa.Array] = {
        "partition": pa.array([0] * len(log), pa.int32()),
        "offset": pa.array(range(len(log)), pa.int64()),
        "recorded_at": pa.array([one.learnt for one in log], TIME),
        "event_id": pa.array([one.id for one in log], pa.string()),
        "household": pa.array([one.household for one in log], pa.string()),
        "member": pa.array([one.member for one in log], pa.string()),
        "type": pa.array([one.type for one in log], pa.string()),
        "time": pa.array([one.time for one in log], TIME),
        "source": pa.array([one.source for one in log], pa.string()),
        "amount_minor": pa.array([one.fields.get("amount_minor") for one in log], pa.float64()),
    }
    columns |= {name: pa.array([one.fields.get(name) for one in log], pa.string()) for name in TEXTS}
    return pa.table(columns)


def lived(*, seed: int, households: int = 40, events: int = 2_500, days: int = 75) -> list[Event]:
    """Return a log that holds whatever a log may hold, in the order in which it was learnt."""
    draw = np.random.default_rng(seed)
    names = [f"H{number:03d}" for number in range(households)]
    found: list[Event] = []
    for number in range(events):
        time = START + int(draw.integers(0, days * DAY))
        late = int(draw.exponential(DAY / 24)) if draw.random() < 0.8 else int(draw.integers(0, 20 * DAY))
        kind, fields = KINDS[int(draw.integers(len(KINDS)))], {}
        if "product" in kind:
            fields["product"] = [*FAMILIES, "unheard_of"][int(draw.integers(len(FAMILIES) + 1))]
            if number % 5 < 2:
                fields["line"] = f"SIM-{number % 3}"
        if kind in SOLD:
            fields["amount_minor"] = [None, 12.5, *range(90, 5_000, 7)][int(draw.integers(0, 700))]
        if kind.startswith("call_centre") and draw.random() < 0.5:
            fields["case"] = f"case-{draw.integers(3)}"
        event = Event(
            id=f"e{number}",
            type=kind,
            household=names[int(draw.integers(households))],
            member=["", "M1", "M2"][int(draw.integers(3))],
            time=time,
            learnt=time + late,
            source=["", "billing"][int(draw.integers(2))],
            fields=fields,
        )
        found.append(event)
        if (
            kind in ("billing.topup", "partner.purchase", "wallet.payment", "billing.bill_issued")
            and draw.random() < 0.2
        ):
            whom = event.household if draw.random() < 0.8 else names[int(draw.integers(households))]
            found.append(_taken_back(event, number, draw, told_of=whom))
        if draw.random() < 0.1:  # told again, and later
            found.append(Event(**{**vars(event), "learnt": event.learnt + int(draw.integers(1, DAY))}))
    for number in range(households // 5):
        ours, theirs = (names[int(one)] for one in draw.choice(households, 2, replace=False))
        time = START + int(draw.integers(0, days * DAY))
        found.append(_graph("merge", ours, number, time, learnt=time + DAY, other=theirs))
        if number % 3 == 0:
            found.append(_graph("unmerge", ours, number, time + 9 * DAY, learnt=time + 9 * DAY))
    return sorted(found, key=lambda one: one.learnt)


def _taken_back(event: Event, number: int, draw: np.random.Generator, *, told_of: str) -> Event:
    time = event.time + int(draw.integers(1, 40 * DAY))
    named = event.id if draw.random() < 0.9 else "nobody-knows"
    if event.type == "wallet.payment":
        kind, fields = "wallet.refund", {"payment": named}
    else:
        part = draw.integers(1, 101)
        fields = {"sale": named, "amount_minor": float(int((event.fields["amount_minor"] or 100) * part // 100))}
        kind = "billing.refund"
    return Event(id=f"r{number}", type=kind, household=told_of, time=time, learnt=time + 5, fields=fields)


def _graph(kind: str, household: str, number: int, time: int, *, learnt: int, **fields: str) -> Event:
    told = {"cause": f"c{number}", **fields}
    name = f"{kind}{number}"
    return Event(id=name, type=f"hearth.graph.{kind}", household=household, time=time, learnt=learnt, fields=told)


def town_log(*, seed: int, households: int, days: float) -> list[Event]:
    """Return what the simulated town tells, some of it late, some taken back, and some of its households merged."""
    town = Town(seed=seed, households=households, start_us=MONDAY_US, days=days, plan=shipped_plan(), intensity=0.2)
    draw, found = np.random.default_rng(seed), list[Event]()
    fields = ("product", "line", "amount_minor", "case")
    for batch in town.batches(50_000):
        columns = {name: batch.column(name).to_pylist() for name in ("event_id", "type", "household", "member", "time")}
        told = [batch.column(name).to_pylist() if name in batch.schema.names else None for name in fields]
        for number, (id_, kind, household, member, time) in enumerate(zip(*columns.values(), strict=True)):
            given = {
                name: values[number]
                for name, values in zip(fields, told, strict=True)
                if values is not None and values[number] is not None
            }
            late = int(draw.exponential(DAY / 48)) if draw.random() < 0.95 else int(draw.integers(0, 15 * DAY))
            event = Event(
                id=id_, type=kind, household=household, member=member, time=time, learnt=time + late, fields=given
            )
            found.append(event)
            if kind in (*SOLD, "wallet.payment") and draw.random() < 0.1:
                found.append(_taken_back(event, len(found), draw, told_of=household))
    names = sorted({one.household for one in found})
    for number in range(households // 10):
        ours, theirs = (names[int(one)] for one in draw.choice(len(names), 2, replace=False))
        at = MONDAY_US + int(draw.integers(DAY, int(days * DAY)))
        found.append(_graph("merge", ours, number, at, learnt=at + DAY, other=theirs))
        if number % 4 == 0:
            found.append(_graph("unmerge", ours, number, at + DAY, learnt=at + 2 * DAY))
    return sorted(found, key=lambda one: one.learnt)
