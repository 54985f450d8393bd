"""Training sets as of each decision: the very rows that were scored, what became of them, and how they were chosen.

One row per decision that chose an offer, or withheld one from a control household, with the features as the model saw
them then. Made piece by piece of an export, so that memory holds one piece, however long the log is. docs/models.md has
the columns.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from household.plan import Plan
from household.scoring import FeatureSchema, feature_schema
from serving.models.examples import decision_rows, validity_us, was_shown
from serving.models.keyed_times import KeyedTimes
from serving.models.reported import Reported
from serving.models.tables import column_of, flags, keys, text, times

LABEL: Final = "label"
ACCEPTED: Final = "accepted"
"""The label that a model of acceptance learns; any other names an event type."""

ABOUT: Final = (
    *("decision_id", "household", "member", "decided_at", "playbook_version", "model_version", "degraded"),
    *("action_id", "chosen_offer", "propensity", "candidates", "arms"),
)
"""Columns taken from the export as they are."""

REPORTS: Final = pa.schema(
    [
        ("type", pa.string()),
        ("time", pa.timestamp("us", tz="UTC")),
        ("recorded_at", pa.timestamp("us", tz="UTC")),
        ("action_id", pa.string()),
        ("household", pa.string()),
    ]
)
"""What is read of a signal."""

CONTROL: Final = "control"
TREATED: Final = "treated"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetConfig:
    """What the rows of a training set are labelled with."""

    label: str = ACCEPTED
    """`accepted`, or an event type: whether the household had one in the window."""
    window_us: int = 86_400_000_000
    """From the decision on, in which the label comes or does not."""

    @property
    def definition(self) -> str:
        """The label in a sentence."""
        if self.label == ACCEPTED:
            return (
                "true when a hearth.accept of the action came in [decided, decided + min(window, validity of the "
                "offer)); null for a control household, for what nobody is known to have seen, and while that time is "
                "not over"
            )
        return (
            f"true when the household had an event {self.label} in [decided, decided + window); null while that time "
            "is not over"
        )


@dataclass(slots=True, kw_only=True)
class DatasetCounts:
    """What went into a training set, and what did not."""

    rows: int = 0
    labelled: int = 0
    positives: int = 0
    control: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    """Decisions without a row, by reason; with `rows` they add up to all decisions read."""


def dataset_schema(plan: Plan, export: pa.Schema, config: DatasetConfig) -> pa.Schema:
    """Return the columns of a training set: what is known of the decision, then the model's in their order."""
    schema = feature_schema(plan)
    own = [
        pa.field("arm", pa.string(), metadata={"values": json.dumps([TREATED, CONTROL])}),
        pa.field("shown", pa.bool_()),
        pa.field(LABEL, pa.bool_(), metadata={"definition": config.definition}),
    ]
    columns = [
        pa.field(one.name, pa.float32(), metadata={"unit": one.unit, "values": json.dumps(one.values)})
        for one in schema.columns
    ]
    metadata = {
        "hearth.kind": "dataset",
        "hearth.feature_schema_hash": schema.hash,
        "hearth.playbook_version": plan.version,
        "hearth.columns": json.dumps(schema.names),
        "hearth.label": config.label,
        "hearth.label_definition": config.definition,
        "hearth.window_us": str(config.window_us),
    }
    return pa.schema([*(export.field(name) for name in ABOUT), *own, *columns], metadata)


class DecisionOutcomes:
    """What became of decisions, of the signals that may tell of them."""

    def __init__(self, config: DatasetConfig, spill_to: Path | None = None) -> None:
        """Begin with no signal; `spill_to` as `KeyedTimes` takes it."""
        self._config = config
        self.reported = Reported(spill_to)
        self.events = KeyedTimes(spill_to)
        """Those of the type that is the label, by household."""

    def add(self, signals: pa.Table) -> None:
        """Take signals as `export_table` gives them.

        Raises:
            BadExport: a column is missing or holds something else.
            OSError: what does not fit into memory cannot be written.
        """
        types = column_of(signals, "type").cast(pa.string())
        wanted = signals.filter(pc.or_(pc.starts_with(types, "hearth."), pc.equal(types, self._config.label)))
        columns = [
            wanted.column(one.name) if one.name in wanted.column_names else pa.nulls(wanted.num_rows, one.type)
            for one in REPORTS
        ]
        reports = pa.table(columns, schema=REPORTS)
        self.reported.add(reports)
        if self._config.label != ACCEPTED:
            labels = reports.filter(pc.equal(reports["type"], self._config.label))
            self.events.add(keys(labels, "household"), times(labels, "time"))


def dataset_tables(
    decisions: Iterator[pa.Table],
    outcomes: DecisionOutcomes,
    plan: Plan,
    *,
    plans: Sequence[Plan],
    newest_us: int,
    config: DatasetConfig,
    counts: DatasetCounts,
) -> Iterator[pa.Table]:
    """Yield the training set of the decisions of one partition, in their order.

    Args:
        decisions: as `export_table` gives them.
        outcomes: of that partition's signals, and of all others' where households have moved between them, by the same
            config.
        plan: the one whose feature schema is wanted; decisions of another are left out, and counted.
        plans: those that decisions were made under.
        newest_us: time of the newest record of the log: what has not ended by then is not known yet.
        config: what the label is.
        counts: counted on.

    Raises:
        BadExport: a column is missing or holds something else.
    """
    by_version: dict[str, Plan] = {each.version: each for each in (*plans, plan)}
    schema = feature_schema(plan)
    for table in decisions:
        wanted = _wanted(_with_withheld(table), schema, by_version, counts)
        if not wanted.num_rows:
            continue
        is_control = flags(wanted, "withheld")
        is_shown = was_shown(wanted, outcomes.reported, by_version) & ~is_control
        decided_us = times(wanted, "decided_at")
        if config.label == ACCEPTED:
            until_us = decided_us + np.minimum(validity_us(wanted, by_version), config.window_us)
            happened = outcomes.reported.was_accepted(wanted, until_us)
            is_known = is_shown & (until_us <= newest_us)
        else:
            until_us = decided_us + config.window_us
            happened = outcomes.events.any_within(keys(wanted, "household"), decided_us, until_us)
            is_known = until_us <= newest_us
        rows = decision_rows(wanted, by_version, plan)
        counts.rows += len(rows)
        counts.labelled += int(is_known.sum())
        counts.positives += int((happened & is_known).sum())
        counts.control += int(is_control.sum())
        yield pa.table(
            [
                *(wanted[name] for name in ABOUT),
                pa.array(np.where(is_control, CONTROL, TREATED), pa.string()),
                pa.array(is_shown),
                pa.array(happened, mask=~is_known),
                *(pa.array(rows[:, place]) for place in range(rows.shape[1])),
            ],
            schema=dataset_schema(plan, table.schema, config),
        )


def _wanted(table: pa.Table, schema: FeatureSchema, plans: Mapping[str, Plan], counts: DatasetCounts) -> pa.Table:
    """Return the decisions that become rows, and count the others by reason."""
    reasons: tuple[tuple[str, Callable[[pa.Table], NDArray[np.bool_]]], ...] = (
        ("nothing_chosen", lambda one: text(one, "action_id") != ""),
        ("other_schema", lambda one: text(one, "feature_schema_hash") == schema.hash),
        ("unknown_playbook", lambda one: np.isin(text(one, "playbook_version"), list(plans))),
    )
    for reason, keep in reasons:
        mask = keep(table)
        counts.left_out[reason] += int((~mask).sum())
        table = table.filter(pa.array(mask, pa.bool_()))
    return table


def _with_withheld(table: pa.Table) -> pa.Table:
    """Return decisions with what was withheld from a control household as what was chosen for it.

    Its row is the one that was scored: without it there would be nobody to compare those with who were treated.
    """
    places = np.flatnonzero(flags(table, "withheld"))
    if not len(places):
        return table
    withheld = table.select(["slate", "ghosts", "channel"]).take(pa.array(places)).to_pylist()
    names = ("action_id", "chosen_offer", "chosen_price_minor", "chosen_has_moment", "channel")
    changed = {name: table[name].to_pylist() for name in names}
    for place, one in zip(places.tolist(), withheld, strict=True):
        ghost = next(iter(one["ghosts"] or ()), None)
        if ghost is None:
            continue
        action = next((entry for entry in one["slate"] if entry["offer"] == ghost["offer"]), None)
        if action is None:
            continue
        told = (action["action_id"], action["offer"], action["price_minor"], bool(action["journey"]))
        for name, value in zip(names, (*told, one["channel"] or ghost["channel"]), strict=True):
            changed[name][place] = value
    for name, values in changed.items():
        kind = table.schema.field(name)
        table = table.set_column(table.column_names.index(name), kind, pa.array(values, kind.type))
    return table
