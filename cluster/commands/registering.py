"""`hearth models register`: a booster that was trained elsewhere, checked and put into the registry."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow.lib import ArrowException

from cluster.commands.leaks import check_training_set
from cluster.commands.models import note_registered
from cluster.commands.promotion import plan_of
from cluster.config import HearthConfig, utc_now
from cluster.errors import CommandFailed
from cluster.output import print_json
from household.scoring import FeatureSchema, feature_schema
from serving.models.adoption import Origin, adopt
from serving.models.bundle import BundleDraft, BundleExists, BundleRefused, checked_name, read_plain, save_bundle
from serving.models.in_force import MODEL_NAME
from serving.models.probe import open_booster, predict
from serving.models.reference import reference_of, to_plain
from serving.models.tables import text
from serving.models.training_sets import HOUSEHOLD, TrainingSet

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


def register_version(
    config: HearthConfig,
    file: Path,
    *,
    columns: str | None,
    golden: Path | None,
    version: str | None,
    origin: Origin,
    trained_on: TrainedOn,
    why: str,
    as_json: bool,
) -> int:
    """Check a booster from elsewhere in a process of its own, and save it as a version; it is in no stage then."""
    plan = plan_of(config)
    schema = feature_schema(plan)
    checked = None
    if trained_on.file is not None:
        checked = check_training_set(config, plan, trained_on.file, vouched_for=trained_on.vouched_for)
    try:
        name = checked_name(version) if version is not None else None
        draft = adopt(
            file,
            schema=schema,
            playbook_version=plan.version,
            columns=columns_of(columns) if columns is not None else None,
            origin=origin,
            golden=golden_of(golden, schema) if golden is not None else None,
        )
        if checked is not None:
            draft = with_reference(draft, *checked)
        made = utc_now().isoformat(timespec="seconds")
        folder = save_bundle(config.model_path, MODEL_NAME, draft, created=made, version=name)
    except BundleExists as exists:
        raise CommandFailed(f"this version is in the registry already, and versions never change: {exists}") from exists
    except BundleRefused as refused:
        raise CommandFailed(f"not registered: {refused}") from refused
    except ValueError as wrong:
        raise CommandFailed(f"not registered: --version {wrong}") from wrong
    note_registered(config, folder.name, why=why or f"from {file.name}")
    if as_json:
        print_json({"version": folder.name, "path": str(folder), "stage": "registered", "columns": len(schema.names)})
    else:
        print(f"model {folder.name} in {folder}")
        print(f"  {len(schema.names)} columns of feature schema {schema.hash}, as the playbook in force has them")
        print(f"  `hearth models shadow {folder.name}` has it scored beside what decides")
    return 0


def with_reference(draft: BundleDraft, source: TrainingSet, sample: pa.Table) -> BundleDraft:
    """Return a draft that knows what it was trained on; its model has been checked in a process of its own."""
    rows = source.rows_of(sample)
    told = HOUSEHOLD in sample.column_names
    households: NDArray[np.generic] = text(sample, HOUSEHOLD) if told else np.arange(len(rows))
    scores = predict(open_booster(draft.model), rows)
    reference = reference_of(source.schema, rows, households, scores=scores, scored_households=households)
    assert isinstance(draft.training, Mapping), "it was trained elsewhere"
    return replace(draft, training={**draft.training, "reference": to_plain(reference)})


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


def golden_of(file: Path, schema: FeatureSchema) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return rows and the scores they had where the model was trained, of a Parquet file with the schema's columns."""
    read_plain(file, GOLDEN_BYTES_MAX)
    try:
        source = pq.ParquetFile(file)
        if source.metadata.num_rows not in range(1, GOLDEN_ROWS_MAX + 1):
            raise BundleRefused(file, f"has {source.metadata.num_rows:,} rows; 1 to {GOLDEN_ROWS_MAX:,} are taken")
        missing = [name for name in (*schema.names, SCORE) if name not in source.schema_arrow.names]
        if missing:
            raise BundleRefused(file, f"has no column {missing[0]}")
        table = source.read([*schema.names, SCORE])
        arrays = [np.asarray(table[name].to_numpy(zero_copy_only=False), np.float32) for name in table.column_names]
    except (ArrowException, ValueError, TypeError, OSError) as wrong:
        raise BundleRefused(file, f"is no Parquet file of golden rows: {wrong}") from wrong
    rows = np.ascontiguousarray(np.column_stack(arrays[:-1]))
    return rows, arrays[-1]
