"""Trains from a training set on disk that need not fit into memory: XGBoost keeps one byte of each value.

The rows stay where they are and are read some times over: once for times and labels, then as often as XGBoost asks to
lay out its bins, and once more for the report. The newest 20 % are held out and only reported on, the newest 15 % of
the rest stop the training, as in training.py. Whoever stops it leaves nothing behind.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa
import xgboost
from numpy.typing import NDArray

from household.plan import Plan
from household.scoring import feature_schema
from serving.models.bundle import BundleDraft, TrainingFacts
from serving.models.dataset import LABEL
from serving.models.examples import NotEnoughData, TrainingConfig
from serving.models.leaks import SAMPLED, LeaksFound, LeakyColumn, find_leaks
from serving.models.measures import auc, logloss
from serving.models.probe import PRIOR_COLUMN, log_odds, open_booster, predict
from serving.models.reference import reference_of, to_plain
from serving.models.tables import text, times
from serving.models.training import best_of, golden_rows, parameters_of
from serving.models.training_sets import DECIDED, HOUSEHOLD, TrainingSet

ShowTraining = Callable[[int, int | None, str], None]
"""Told how far it is: done, of how many, what."""


class Device(StrEnum):
    """What grows the trees."""

    CPU = "cpu"
    CUDA = "cuda"


class DeviceMissing(Exception):
    """A device that XGBoost cannot use here; says why."""


class TrainingStopped(Exception):
    """Somebody wanted no more of it; nothing was saved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRun:
    """How one training goes, beside what it learns."""

    device: Device = Device.CPU
    is_stopped: Callable[[], bool] = lambda: False
    """Asked all the time."""
    show: ShowTraining = lambda done, total, note: None


def check_device(device: Device) -> None:
    """Raise where XGBoost has no such device.

    Raises:
        DeviceMissing: says why, and what to do.
    """
    if device is Device.CUDA and not xgboost.build_info()["USE_CUDA"]:
        raise DeviceMissing(
            f"XGBoost {xgboost.__version__} here was built without CUDA; install the `xgboost` wheel on a machine with "
            "an NVIDIA GPU (`xgboost-cpu` has none of it), or leave --device at cpu"
        )


def train_from(source: TrainingSet, plan: Plan, *, seed: int, config: TrainingConfig, run: TrainingRun) -> BundleDraft:
    """Return a model of a training set's label, with its report; the same for the same files, seed and threads.

    Memory holds a byte for each value of the fitted rows, and some dozen bytes for each row.

    Raises:
        NotEnoughData: fewer rows or positive labels than the config asks for.
        LeaksFound: a column knows what it is to predict.
        BadExport: the set cannot be read.
        DeviceMissing: XGBoost cannot use the device.
        TrainingStopped: before there was a model.
    """
    check_device(run.device)
    assert source.schema.hash == feature_schema(plan).hash, "it was opened for another playbook"

    parts = _Parts.of(source, config)
    sample = source.sample(SAMPLED, also=(DECIDED, HOUSEHOLD))
    if leaks := leaks_of(source, sample, config):
        raise LeaksFound(leaks)
    _go_on(run)
    fitted = _matrix(_Part(source, parts, 0, config, run, "laying out what is fitted"))
    _go_on(run)
    stopping = _matrix(_Part(source, parts, 1, config, run, "laying out what stops it"), ref=fitted)
    _go_on(run)
    model = _grown(fitted, stopping, seed=seed, config=config, run=run)
    del fitted, stopping
    booster = open_booster(model)
    golden = golden_rows(source.rows_of(sample), seed)
    return BundleDraft(
        model=model,
        feature_schema_hash=source.schema.hash,
        columns=source.schema.names,
        golden_rows=golden,
        golden_scores=predict(booster, golden),
        playbook_version=plan.version,
        training=replace(
            _facts(source, parts, booster, seed=seed, config=config, run=run),
            reference=_reference(source, parts, booster, sample),
        ),
    )


def leaks_of(source: TrainingSet, sample: pa.Table, config: TrainingConfig) -> list[LeakyColumn]:
    """Return the leaks among the columns that would be learned from, as a sample of labelled rows shows them."""
    columns = [name for name in source.schema.names if name not in config.allowed]
    label = np.asarray(sample[LABEL].to_numpy(), np.bool_)
    return find_leaks(sample, columns, label, label_name=source.label_name, known=columns)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Parts:
    """Which rows are fitted (0), stop the training (1) and are held out (2): by time, the oldest first."""

    stopping_us: int
    holdout_us: int
    rows: tuple[int, int, int]
    positives: tuple[int, int, int]
    from_us: int
    to_us: int
    seen_to_us: int
    prior_propensity: float = 1.0

    @classmethod
    def of(cls, source: TrainingSet, config: TrainingConfig) -> "_Parts":
        """Look at the times and labels of all rows.

        Raises:
            NotEnoughData
        """
        decided_us, label = source.labelled()
        positives = int(label.sum())
        if len(label) < config.rows_min or positives < config.positives_min:
            raise NotEnoughData(
                f"{len(label)} rows with a label, {config.rows_min} needed; {positives} of them true, "
                f"{config.positives_min} needed"
            )
        ordered = np.sort(decided_us)
        held = round(len(ordered) * (1 - config.holdout_share))
        holdout_us = int(ordered[held])
        # Rows of one time are in one part, so that the order of the files does not matter for it.
        before = ordered[ordered < holdout_us]
        stopping_us = int(before[round(len(before) * (1 - config.stopping_share))]) if len(before) else holdout_us
        part = _part_of(decided_us, stopping_us, holdout_us)
        rows = tuple(int((part == one).sum()) for one in range(3))
        ones = tuple(int(label[part == one].sum()) for one in range(3))
        for name, count, positive in zip(("training", "early stopping", "holdout"), rows, ones, strict=True):
            if not 0 < positive < count:
                raise NotEnoughData(f"{name} part: {positive} of {count} true; it needs both outcomes")
        return cls(
            stopping_us=stopping_us,
            holdout_us=holdout_us,
            rows=(rows[0], rows[1], rows[2]),
            positives=(ones[0], ones[1], ones[2]),
            from_us=int(ordered[0]),
            to_us=int(ordered[-1]),
            seen_to_us=int(before[-1]),
        )


def _part_of(decided_us: NDArray[np.int64], stopping_us: int, holdout_us: int) -> NDArray[np.int8]:
    return (decided_us >= stopping_us).astype(np.int8) + (decided_us >= holdout_us)


class _Part(xgboost.DataIter):
    """Hands XGBoost the rows of one part, batch by batch, as often as it asks for them."""

    def __init__(
        self, source: TrainingSet, parts: _Parts, part: int, config: TrainingConfig, run: TrainingRun, what: str
    ) -> None:
        self._source, self._parts, self._part = source, parts, part
        self._config, self._run, self._what = config, run, what
        self._names = list(source.schema.names)
        self._prior = self._names.index(PRIOR_COLUMN)
        self._batches: Iterator[Any] = iter(())
        self._done, self._passes = 0, 0
        super().__init__()

    def reset(self) -> None:
        """Begin anew."""
        self._batches = self._source.batches()
        self._done, self._passes = 0, self._passes + 1

    def next(self, input_data: Callable[..., Any]) -> bool:
        """Hand over the next batch; False if there is none."""
        for batch in self._batches:
            _go_on(self._run)
            mine = _part_of(batch.decided_us, self._parts.stopping_us, self._parts.holdout_us) == self._part
            self._done += len(mine)
            self._run.show(self._done, self._source.row_count, f"{self._what}, reading no. {self._passes}")
            if not mine.any():
                continue
            rows = batch.rows[mine]
            input_data(
                data=rows,
                label=batch.label[mine].astype(np.float32),
                weight=self._weights(batch.propensity[mine]),
                # The trees correct the playbook's priors; `predict` starts from the same margin.
                base_margin=log_odds(rows[:, self._prior]),
                feature_names=self._names,
            )
            return True
        return False

    def _weights(self, propensity: NDArray[np.float64]) -> NDArray[np.float32]:
        if not self._config.weigh_by_propensity:
            return np.ones(len(propensity), np.float32)
        return np.asarray(1 / np.clip(propensity, self._config.propensity_least, 1), np.float32)


def _go_on(run: TrainingRun) -> None:
    if run.is_stopped():
        raise TrainingStopped


def _matrix(part: _Part, ref: xgboost.QuantileDMatrix | None = None) -> xgboost.QuantileDMatrix:
    return xgboost.QuantileDMatrix(part, ref=ref, nthread=part._config.thread_count)


class _Progress(xgboost.callback.TrainingCallback):
    """Tells of each round, and stops where that is wanted."""

    def __init__(self, run: TrainingRun, rounds_max: int) -> None:
        super().__init__()
        self._run, self._rounds_max = run, rounds_max

    def after_iteration(self, model: xgboost.Booster, epoch: int, evals_log: Any) -> bool:
        """Return whether to stop."""
        del model
        loss = evals_log["stopping"]["logloss"][-1]
        self._run.show(epoch + 1, self._rounds_max, f"trees, log loss {loss:.5f}")
        return self._run.is_stopped()


def _grown(
    fitted: xgboost.QuantileDMatrix,
    stopping: xgboost.QuantileDMatrix,
    *,
    seed: int,
    config: TrainingConfig,
    run: TrainingRun,
) -> bytes:
    try:
        booster = xgboost.train(
            parameters_of(config, seed) | {"device": run.device.value},
            fitted,
            config.rounds_max,
            evals=[(stopping, "stopping")],
            early_stopping_rounds=config.stopping_rounds,
            verbose_eval=False,
            callbacks=[_Progress(run, config.rounds_max)],
        )
    except xgboost.core.XGBoostError as wrong:
        if run.device is Device.CPU:
            raise
        raise DeviceMissing(f"XGBoost cannot use {run.device} here: {str(wrong).splitlines()[0][:300]}") from wrong
    _go_on(run)
    booster.set_param({"device": Device.CPU.value})
    return best_of(booster)


def _reference(source: TrainingSet, parts: _Parts, booster: xgboost.Booster, sample: pa.Table) -> dict[str, Any]:
    """Return what it was trained on, as a sample shows it."""
    rows = source.rows_of(sample)
    is_told = HOUSEHOLD in sample.column_names
    households: NDArray[np.generic] = text(sample, HOUSEHOLD) if is_told else np.arange(len(rows))
    held = _part_of(times(sample, DECIDED), parts.stopping_us, parts.holdout_us) == 2
    scores = predict(booster, np.ascontiguousarray(rows[held]))
    found = reference_of(source.schema, rows, households, scores=scores, scored_households=households[held])
    return to_plain(found)


def _facts(
    source: TrainingSet, parts: _Parts, booster: xgboost.Booster, *, seed: int, config: TrainingConfig, run: TrainingRun
) -> TrainingFacts:
    scores, priors, label = _held_out(source, parts, booster, run)
    tenths = [part for part in np.array_split(np.argsort(scores, kind="stable"), 10) if len(part)]
    return TrainingFacts(
        label=source.definition,
        window_us=source.window_us,
        seed=seed,
        rows=sum(parts.rows),
        positives=sum(parts.positives),
        left_out={"without_label": source.row_count - sum(parts.rows)},
        from_us=parts.from_us,
        to_us=parts.to_us,
        holdout_rows=len(label),
        holdout_positives=int(label.sum()),
        auc=auc(scores, label),
        logloss=logloss(scores, label),
        prior_auc=auc(priors, label),
        prior_logloss=logloss(priors, label),
        predicted_mean=float(scores.mean(dtype=np.float64)),
        observed_mean=float(label.mean()),
        calibration=tuple(
            (float(scores[part].mean(dtype=np.float64)), float(label[part].mean()), len(part)) for part in tenths
        ),
        trees=booster.num_boosted_rounds(),
        weighted=config.weigh_by_propensity,
        seen_to_us=parts.seen_to_us,
    )


def _held_out(
    source: TrainingSet, parts: _Parts, booster: xgboost.Booster, run: TrainingRun
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Return (holdout,) scores, priors and labels."""
    prior = source.schema.names.index(PRIOR_COLUMN)
    scores, priors, labels = [], [], []
    for batch in source.batches():
        _go_on(run)
        held = _part_of(batch.decided_us, parts.stopping_us, parts.holdout_us) == 2
        if held.any():
            rows = np.ascontiguousarray(batch.rows[held])
            scores.append(predict(booster, rows))
            priors.append(rows[:, prior])
            labels.append(batch.label[held])
            run.show(sum(map(len, labels)), parts.rows[2], "judging on the newest")
    return np.concatenate(scores), np.concatenate(priors), np.concatenate(labels)
