"""`hearth models register`: a booster that was trained elsewhere, checked and put into the registry."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow.lib import ArrowException

from cluster.commands.leaks import check_training_set, refuse_leaks
from cluster.commands.model_names import refuse_other_term, term_named
from cluster.commands.models import note_registered
from cluster.commands.promotion import plan_of
from cluster.commands.training_terms import BETTER, WHY, judged
from cluster.config import HearthConfig, utc_now
from cluster.errors import CommandFailed, UsageWrong
from cluster.output import print_json
from household.plan import Plan, ValueTerm
from household.scoring import FeatureSchema, feature_schema
from serving.models.adoption import BEST_ROUNDS, Origin, adopt
from serving.models.bundle import BundleDraft, BundleExists, BundleRefused, new_version, read_plain, save_bundle
from serving.models.leaks import leaks_in_rows
from serving.models.probe import OpenModel
from serving.models.reference import reference_of, to_plain
from serving.models.tables import BadExport, text
from serving.models.term_sets import read_observed
from serving.models.term_training import Learned
from serving.models.training_sets import HOUSEHOLD

COLUMNS_BYTES_MAX = 1 << 20
GOLDEN_BYTES_MAX = 16 << 20
GOLDEN_ROWS_MAX = 1_000
SCORE = "score"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedOn:
    """What a booster was trained on, to be looked through for leaks, and kept as histograms for whoever watches it."""

    file: Path | None = None
    """A Parquet file or a folder of them; None if nobody tells."""
    vouched_for: frozenset[str] = frozenset()
    """Columns that are no leaks, whatever they look like."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelMeant:
    """Which model of the registry a version is for, and what it gives."""

    name: str = ""
    """Empty for the playbook's of the term."""
    term: str = ""
    """A value of ValueTerm; empty for what the playbook has the model give, acceptance mostly."""
    judged_on: Path | None = None
    """A labelled set that it has not seen, for one of another term than acceptance."""

    def resolved(self, plan: Plan) -> tuple[str, ValueTerm]:
        """Return name and term.

        Raises:
            UsageWrong: there is no such term, or the playbook has the model give another.
        """
        if self.term and self.term not in [one.value for one in ValueTerm]:
            raise UsageWrong(f"--term {self.term} is none of {', '.join(ValueTerm)}")
        named = term_named(plan, self.name)
        term = ValueTerm(self.term) if self.term else named or ValueTerm.ACCEPTANCE
        name = self.name or plan.models.name_of(term) or term.value
        refuse_other_term(plan, name, term)
        if self.judged_on is not None and term is ValueTerm.ACCEPTANCE:
            raise UsageWrong("--judge-on is for other terms: a model of acceptance is compared on the log's decisions")
        return name, term


def register_version(
    config: HearthConfig,
    files: Sequence[Path],
    *,
    meant: ModelMeant,
    columns: str | None,
    golden: Path | None,
    version: str | None,
    origin: Origin,
    trained_on: TrainedOn,
    why: str,
    as_json: bool,
) -> int:
    """Check a booster from elsewhere in a process of its own, and save it as a version; it is in no stage then.

    Of an uplift there may be several: of control and treated, or of both effects and the propensity.
    """
    plan = plan_of(config)
    schema = feature_schema(plan)
    name, term = meant.resolved(plan)
    names, file = schema.names_for(term), files[0]
    rows_seen = _rows_seen(config, plan, term, trained_on)
    try:
        version = new_version(version) if version is not None else None
        draft = adopt(
            file,
            others=files[1:],
            term=term,
            schema=schema,
            playbook_version=plan.version,
            columns=columns_of(columns) if columns is not None else None,
            origin=origin,
            golden=golden_of(golden, names) if golden is not None else None,
        )
        if rows_seen is not None:
            draft = with_reference(draft, schema, *rows_seen)
        if meant.judged_on is not None:
            draft = with_judgement(draft, schema, term, meant.judged_on)
        made = utc_now().isoformat(timespec="seconds")
        folder = save_bundle(config.model_path, name, draft, created=made, version=version)
    except BundleExists as exists:
        raise CommandFailed(f"this version is in the registry already, and versions never change: {exists}") from exists
    except BundleRefused as refused:
        raise CommandFailed(f"not registered: {refused}") from refused
    except ValueError as wrong:
        raise CommandFailed(f"not registered: --version {wrong}") from wrong
    note_registered(config, folder.name, why=why or f"from {', '.join(one.name for one in files)}", name=name)
    if as_json:
        told = {"version": folder.name, "model": name, "term": term, "path": str(folder)}
        print_json({**told, "stage": "registered", "columns": len(names)})
    else:
        print(f"model {folder.name} of {name}, which gives {term}, in {folder}")
        print(f"  {len(names)} columns of feature schema {schema.hash}, as the playbook in force has them")
        facts = draft.training
        assert isinstance(facts, Mapping), "it was trained elsewhere"
        if BEST_ROUNDS in facts:
            print(f"  all its rounds score, as in XGBoost's predict(); it did best after {facts[BEST_ROUNDS]}")
        if WHY in facts:
            print(f"  {facts[WHY]}")
        if plan.models.name_of(term) != name:
            print(f"  the playbook asks nobody of that name yet: `models: {{{term}: {name}}}` has it asked")
        named = "" if name == plan.models.acceptance else f" --model {name}"
        print(f"  `hearth models shadow {folder.name}{named}` has it scored beside what decides")
    return 0


RowsSeen: TypeAlias = tuple[NDArray[np.float32], NDArray[np.generic]]
"""(n, columns) rows that a model was trained on, and (n,) whose they are."""


def _rows_seen(config: HearthConfig, plan: Plan, term: ValueTerm, trained_on: TrainedOn) -> RowsSeen | None:
    """Return what a model was trained on, once it has been looked through for leaks; None if nobody tells.

    Raises:
        CommandFailed: a column knows what it is to predict.
        UsageWrong: it is no training set of the term.
    """
    if trained_on.file is None:
        return None
    if term is ValueTerm.ACCEPTANCE:
        source, sample = check_training_set(config, plan, trained_on.file, vouched_for=trained_on.vouched_for)
        rows = source.rows_of(sample)
        told = HOUSEHOLD in sample.column_names
        return rows, text(sample, HOUSEHOLD) if told else np.arange(len(rows))
    schema = feature_schema(plan)
    try:
        observed = read_observed(trained_on.file, schema, term)
    except BadExport as wrong:
        raise UsageWrong(f"--trained-on: {wrong}") from wrong
    if term is not ValueTerm.VALUE:
        label = observed.outcome > 0.5
        if leaks := leaks_in_rows(observed.rows, schema.names_for(term), label, allowed=trained_on.vouched_for):
            raise refuse_leaks(leaks)
    return observed.rows, observed.households


def with_reference(
    draft: BundleDraft, schema: FeatureSchema, rows: NDArray[np.float32], households: NDArray[np.generic]
) -> BundleDraft:
    """Return a draft that knows what it was trained on; its model has been checked in a process of its own."""
    scores = OpenModel(draft.model).predict(rows)
    reference = reference_of(schema, rows, households, scores=scores, scored_households=households)
    return _with_facts(draft, {"reference": to_plain(reference)})


def with_judgement(draft: BundleDraft, schema: FeatureSchema, term: ValueTerm, file: Path) -> BundleDraft:
    """Return a draft that knows how it does on a set that it has not seen, as whoever promotes it asks.

    Raises:
        UsageWrong: it is no set of the term.
    """
    try:
        held = read_observed(file, schema, term)
    except BadExport as wrong:
        raise UsageWrong(f"--judge-on: {wrong}") from wrong
    if term is ValueTerm.UPLIFT and held.is_treated is None:
        raise UsageWrong(f"--judge-on: {file} does not tell who was treated: a column `arm` is needed")
    if not len(held.outcome):
        raise UsageWrong(f"--judge-on: {file} has no row with an outcome")
    is_better, told = judged(Learned(draft=draft, held=held, scores=OpenModel(draft.model).predict(held.rows)), term)
    return _with_facts(draft, {**told, BETTER: is_better})


def _with_facts(draft: BundleDraft, facts: dict[str, Any]) -> BundleDraft:
    assert isinstance(draft.training, Mapping), "it was trained elsewhere"
    return replace(draft, training={**draft.training, **facts})


def columns_of(told: str) -> list[str]:
    """Return names of columns: of a file, one a line or a JSON list; or the names themselves with commas between."""
    file = Path(told)
    if "," in told or not (file.exists() or file.is_symlink()):
        if "," not in told:
            raise BundleRefused(file, "is neither a file of names nor names with commas between")
        return [name.strip() for name in told.split(",")]
    try:
        text = read_plain(file, COLUMNS_BYTES_MAX).decode()
        if text.lstrip().startswith("["):
            names = json.loads(text)
            if not all(isinstance(name, str) for name in names):
                raise BundleRefused(file, "is JSON, and no list of names")
            return list(names)
    except (ValueError, RecursionError) as wrong:
        raise BundleRefused(file, f"is no file of names: {wrong}") from wrong
    return [line.strip() for line in text.splitlines() if line.strip()]


def golden_of(file: Path, names: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return rows and the scores they had where the model was trained, of a Parquet file with these columns."""
    read_plain(file, GOLDEN_BYTES_MAX)
    try:
        source = pq.ParquetFile(file)
        if source.metadata.num_rows not in range(1, GOLDEN_ROWS_MAX + 1):
            raise BundleRefused(file, f"has {source.metadata.num_rows:,} rows; 1 to {GOLDEN_ROWS_MAX:,} are taken")
        missing = [name for name in (*names, SCORE) if name not in source.schema_arrow.names]
        if missing:
            raise BundleRefused(file, f"has no column {missing[0]}")
        table = source.read([*names, SCORE])
        arrays = [np.asarray(table[name].to_numpy(zero_copy_only=False), np.float32) for name in table.column_names]
    except (ArrowException, ValueError, TypeError, OSError) as wrong:
        raise BundleRefused(file, f"is no Parquet file of golden rows: {wrong}") from wrong
    rows = np.ascontiguousarray(np.column_stack(arrays[:-1]))
    return rows, arrays[-1]
