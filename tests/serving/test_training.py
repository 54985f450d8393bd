"""From logged decisions and what became of them to a model.

Laws: an acceptance counts in [decided, decided + min(window, validity)) and nowhere else; every decision read is a row
or left out for one stated reason; a known preference is learned, better than the priors; the same data and seed give
the same model to the last bit, whatever the order of the rows.
"""

import dataclasses
import json

import numpy as np
import pyarrow as pa
import pytest

from household.plan import Channel, Feature, FeatureKind, Offer, Plan, Scope
from household.scoring import NEVER, feature_schema, schema_hash, score_rows, state_vector
from serving.models.examples import NotEnoughData, TrainingConfig, decision_rows, gather
from serving.models.measures import auc, logloss
from serving.models.probe import open_booster, predict
from serving.models.tables import BadExport
from serving.models.training import train

HOUR = 3_600_000_000
DAY = 24 * HOUR

PLAN = Plan(
    name="shop",
    features=(
        Feature(name="streams", kind=FeatureKind.COUNT, scope=Scope.HOUSEHOLD, result="int"),
        Feature(name="secret", kind=FeatureKind.COUNT, scope=Scope.HOUSEHOLD, result="int", scored=False),
        Feature(name="topped_up", kind=FeatureKind.LAST_SEEN, scope=Scope.MEMBER, result="double"),
    ),
    channels=(Channel(name="push", inbound=False, outbound=True), Channel(name="ivr", inbound=True, outbound=False)),
    families=("mobile", "content"),
    offers=(
        Offer(name="data", kind="offer", family="mobile", price_minor=500, prior_acceptance=0.2, valid_us=7 * DAY),
        Offer(name="films", kind="offer", family="content", price_minor=900, prior_acceptance=0.1, valid_us=2 * HOUR),
    ),
)


def decision(number: int, decided_us: int = 0, **changes) -> dict:
    return {
        "decision_id": f"d{number:06}",
        "household": f"h{number % 50}",
        "decided_at_us": decided_us,
        "channel": "push",
        "playbook_version": PLAN.version,
        "feature_schema_hash": schema_hash(PLAN),
        "withheld": False,
        "propensity": 0.9,
        "state_vector": [1.0, 2.0],
        "local_minute_of_week": 600,
        "chosen_offer": "data",
        "chosen_price_minor": 500,
        "chosen_has_moment": True,
        "action_id": f"a{number:06}",
    } | changes


def signal(number: int, kind: str, action: int, time_us: int) -> dict:
    return {
        "event_id": f"e{number}",
        "type": kind,
        "household": "h",
        "time_us": time_us,
        "action_id": f"a{action:06}",
    }


END = signal(999_999, "app.visit", -1, 100 * DAY) | {"action_id": None}
"""A record long after: no window is open any more."""


def decisions_table(rows: list[dict]) -> pa.Table:
    return pa.Table.from_pylist(rows).cast(
        pa.schema(
            [
                (name, pa.list_(pa.float32()) if name == "state_vector" else pa.array([value]).type)
                for name, value in decision(0).items()
            ]
            + [("asked", pa.bool_())] * ("asked" in rows[0])
        )
    )


def gathered(rows: list[dict], signals: list[dict], config: TrainingConfig | None = None, **more):
    config = config or TrainingConfig(rows_min=4, positives_min=3)
    # Three decisions that were surely accepted, so that there is enough; they come first.
    padding = [decision(900_000 + i, -10 * DAY) for i in range(4)]
    accepts = [signal(i, "hearth.accept", 900_000 + i, -10 * DAY) for i in range(4)]
    examples = gather(
        decisions_table([*rows, *[each | {"asked": True} if "asked" in rows[0] else each for each in padding]]),
        pa.Table.from_pylist([*signals, *accepts, END]),
        PLAN,
        earlier_plans=more.pop("earlier_plans", ()),
        config=config,
    )
    return examples.accepted[4:].tolist(), examples.left_out, examples


def shown(action: int, time_us: int = 0) -> dict:
    return signal(100_000 + action, "hearth.impression", action, time_us)


def test_an_acceptance_counts_from_the_decision_to_the_end_of_the_window_and_not_beyond():
    times = [-1, 0, DAY - 1, DAY]
    rows = [decision(number, 0) for number in range(4)]
    signals = [shown(i) for i in range(4)] + [signal(i, "hearth.accept", i, time) for i, time in enumerate(times)]
    assert gathered(rows, signals)[0] == [False, True, True, False]


def test_an_offer_that_dies_sooner_ends_the_window_sooner():
    rows = [decision(number, 0, chosen_offer="films") for number in range(2)]
    signals = [shown(0), shown(1)]
    signals += [signal(0, "hearth.accept", 0, 2 * HOUR - 1), signal(1, "hearth.accept", 1, 2 * HOUR)]
    assert gathered(rows, signals)[0] == [True, False]


def test_a_decline_or_an_acceptance_of_something_else_is_no_acceptance():
    signals = [signal(0, "hearth.decline", 0, 5), signal(1, "hearth.accept", 77, 5), signal(2, "hearth.convert", 1, 5)]
    assert gathered([decision(0), decision(1)], signals)[0] == [False, False]


@pytest.mark.parametrize("report", ["hearth.impression", "hearth.click", "hearth.decline", "hearth.convert"])
def test_a_report_that_someone_saw_it_makes_it_count(report):
    assert gathered([decision(0)], [signal(0, report, 0, 1)])[0] == [False]


@pytest.mark.parametrize("report", ["hearth.delivered", "app.impression"])
def test_what_nobody_is_known_to_have_seen_does_not_count(report):
    assert gathered([decision(0)], [signal(0, report, 0, 1)])[:2] == ([], {"not_shown": 1})


def test_the_answer_to_a_decide_was_seen():
    assert gathered([decision(0, channel="ivr")], [])[0] == [False]
    assert gathered([decision(0, asked=True), decision(1, asked=False, channel="ivr")], [])[:2] == (
        [False],
        {"not_shown": 1},
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"action_id": None, "chosen_offer": None}, "nothing_chosen"),
        ({"withheld": True}, "withheld"),
        ({"feature_schema_hash": "0" * 16, "state_vector": [1.0]}, "other_schema"),
        ({"playbook_version": "1" * 16}, "unknown_playbook"),
        ({"action_id": "a900000", "decided_at_us": -DAY}, "repeated_action"),
        ({"decided_at_us": 100 * DAY - DAY + 1}, "window_open"),
    ],
)
def test_a_decision_that_teaches_nothing_is_left_out_and_counted(changes, reason):
    assert gathered([decision(0, 0) | changes], [shown(0)])[:2] == ([], {reason: 1})


def test_a_window_that_ends_with_the_newest_record_has_ended():
    assert gathered([decision(0, 99 * DAY)], [shown(0)])[0] == [False]


def test_rows_are_those_that_were_scored_to_the_last_bit_each_by_its_own_playbook():
    earlier = dataclasses.replace(
        PLAN, name="before", offers=(dataclasses.replace(PLAN.offers[1], margin_minor=77), PLAN.offers[0])
    )
    assert schema_hash(earlier) == schema_hash(PLAN)
    scored = []
    rows = []
    for number, plan in enumerate([earlier, PLAN, earlier]):
        readings = np.array([number + 0.1, np.nan, np.inf])
        rows.append(
            decision(
                number,
                number,
                channel="ivr",
                playbook_version=plan.version,
                state_vector=state_vector(plan, readings).tolist(),
                chosen_offer="films",
                chosen_price_minor=700 + number,
                chosen_has_moment=number == 1,
                local_minute_of_week=10_000 + number,
            )
        )
        scored.append(
            score_rows(
                plan,
                readings=readings,
                offers=np.array([plan.offer_by_name["films"]]),
                prices_minor=np.array([700 + number]),
                has_moment=number == 1,
                channel=1,
                local_minute_of_week=10_000 + number,
            )
        )
    examples = gathered(rows, [], earlier_plans=[earlier])[2]
    assert examples.rows[4:].tobytes() == np.concatenate(scored).tobytes()
    # Indices instead of names mean the same.
    by_index = decisions_table([row | {"playbook_version": PLAN.version} for row in rows])
    by_index = by_index.set_column(by_index.column_names.index("chosen_offer"), "chosen_offer", pa.array([1, 1, 1]))
    with pytest.raises(NotEnoughData, match="3 usable decisions, 500 needed; 0 accepted, 50 needed"):
        gather(by_index, pa.Table.from_pylist([END]), PLAN, earlier_plans=(), config=TrainingConfig())


# --- learning ------------------------------------------------------------------------------------------------------


def town(count: int, seed: int) -> tuple[pa.Table, pa.Table]:
    """Households that stream take films, the others data; the priors know nothing of it.

    Knowing who likes what gives AUC ≈ 0.80: half of those who like it take it, and 3 % of the others.
    """
    draw = np.random.default_rng(seed)
    streams = draw.integers(0, 10, count)
    films = draw.random(count) < 0.5
    likely = np.where((streams >= 5) == films, 0.5, 0.03)
    accepts = draw.random(count) < likely
    rows = [
        decision(
            i,
            i * HOUR // 10,
            state_vector=[float(streams[i]), np.nan],
            chosen_offer="films" if films[i] else "data",
            channel="ivr",
            propensity=float(draw.choice([0.02, 0.9])),
        )
        for i in range(count)
    ]
    signals = [signal(i, "hearth.accept", i, i * HOUR // 10 + HOUR) for i in np.flatnonzero(accepts).tolist()]
    return decisions_table(rows), pa.Table.from_pylist([*signals, END | {"time_us": count * HOUR}])


@pytest.fixture(scope="module")
def learned():
    decisions, outcomes = town(3_000, seed=1)
    return decisions, outcomes, train(decisions, outcomes, PLAN, seed=5)


def test_a_known_preference_is_learned_better_than_the_priors(learned):
    draft = learned[2]
    facts = draft.training
    assert (facts.rows, facts.holdout_rows, facts.left_out) == (3_000, 600, {})
    assert facts.auc > 0.75
    assert facts.prior_auc < 0.58
    assert facts.logloss < facts.prior_logloss - 0.1
    assert abs(facts.predicted_mean - facts.observed_mean) < 0.05
    assert sum(count for _, _, count in facts.calibration) == 600

    scores = predict(
        open_booster(draft.model),
        score_rows(
            PLAN,
            readings=np.array([9.0, 0.0, np.nan]),
            offers=np.array([0, 1]),
            prices_minor=np.array([500, 500]),
            has_moment=True,
            channel=1,
            local_minute_of_week=600,
        ),
    )
    assert scores[1] > 0.35
    assert scores[0] < 0.15


def test_the_same_data_and_seed_give_the_same_model_whatever_the_order(learned):
    decisions, outcomes, draft = learned
    shuffled = decisions.take(np.random.default_rng(3).permutation(len(decisions)))
    again = train(shuffled, outcomes.take(np.arange(len(outcomes))[::-1]), PLAN, seed=5)
    assert again.model == draft.model
    assert again.golden_rows.tobytes() == draft.golden_rows.tobytes()
    assert again.training == draft.training
    assert train(decisions, outcomes, PLAN, seed=6).model != draft.model


def test_golden_rows_are_of_nobody(learned):
    decisions, outcomes, draft = learned
    examples = gather(decisions, outcomes, PLAN, earlier_plans=(), config=TrainingConfig())
    real = {bytes(row) for row in examples.rows}
    assert draft.golden_rows.shape == (19, len(draft.columns))
    assert np.isnan(draft.golden_rows[-3]).all()
    assert sum(bytes(row) in real for row in draft.golden_rows) < 19


def test_weighing_by_propensity_changes_the_model(learned):
    decisions, outcomes, draft = learned
    weighed = train(decisions, outcomes, PLAN, seed=5, config=TrainingConfig(weigh_by_propensity=True))
    assert weighed.training.weighted
    assert weighed.model != draft.model
    assert weighed.training.auc > 0.72


def test_too_little_says_how_much_there_is_and_how_much_is_needed():
    decisions, outcomes = town(200, seed=1)
    with pytest.raises(NotEnoughData, match=r"^200 usable decisions, 500 needed; \d+ accepted, 50 needed"):
        train(decisions, outcomes, PLAN, seed=1)
    with pytest.raises(NotEnoughData, match=r"0 usable .* left out: 200 other_schema"):
        train(decisions, outcomes, dataclasses.replace(PLAN, currency="USD"), seed=1)


def test_a_part_without_acceptances_is_too_little():
    decisions, outcomes = town(1_000, seed=1)
    early = outcomes.filter(pa.array(np.asarray(outcomes["time_us"]) < 50 * HOUR))
    with pytest.raises(NotEnoughData, match=r"part: 0 of .* accepted; it needs both outcomes"):
        train(decisions, pa.concat_tables([early, outcomes.slice(len(outcomes) - 1)]), PLAN, seed=1)


def test_what_went_out_on_another_channel_is_learned_from_as_it_was_scored():
    table = decisions_table([decision(0), decision(1)])
    table = table.append_column("scored_channel", pa.array([None, "ivr"], pa.string()))
    rows = decision_rows(table, {PLAN.version: PLAN}, PLAN)
    assert rows[:, feature_schema(PLAN).names.index("channel")].tolist() == [0.0, 1.0]


def test_no_decisions_at_all_are_too_few():
    decisions, outcomes = town(10, seed=1)
    with pytest.raises(NotEnoughData, match="0 usable decisions"):
        train(decisions.slice(0, 0), outcomes, PLAN, seed=1)


NAMED_NOW = {"state_vector": "streams", "decided_at_us": "decided_at"}
"""What an export of today has instead of a column of earlier ones."""

TIME = pa.timestamp("us", tz="UTC")


def as_exported_now(decisions: pa.Table, outcomes: pa.Table, **metadata: str) -> tuple[pa.Table, pa.Table]:
    """Return an earlier export as one of today: features in columns of their own, times as timestamps."""
    vectors = np.array(decisions["state_vector"].to_pylist(), np.float32)
    vectors[vectors >= NEVER] = np.inf
    features = {"streams": vectors[:, 0], "topped_up": vectors[:, 1]}
    decided_at = decisions["decided_at_us"].cast(TIME)
    decisions = decisions.drop_columns(["state_vector", "decided_at_us"]).append_column("decided_at", decided_at)
    for name, values in features.items():
        decisions = decisions.append_column(metadata.get(name, name), pa.array(values, mask=np.isnan(values)))
    outcomes = outcomes.append_column("time", outcomes["time_us"].cast(TIME)).drop_columns(["time_us"])
    return decisions, outcomes


def test_an_export_of_today_is_learned_from_as_an_earlier_one_to_the_bit():
    decisions, outcomes = town(600, seed=1)
    before = gather(decisions, outcomes, PLAN, earlier_plans=(), config=TrainingConfig())
    now = gather(*as_exported_now(decisions, outcomes), PLAN, earlier_plans=(), config=TrainingConfig())
    assert now.rows.tobytes() == before.rows.tobytes()
    assert now.accepted.tolist() == before.accepted.tolist()
    assert now.left_out == before.left_out

    renamed, outcomes_now = as_exported_now(decisions, outcomes, streams="streams@old")
    named = {schema_hash(PLAN): ["streams@old", "topped_up"]}
    told = renamed.replace_schema_metadata({"hearth.feature_columns": json.dumps(named)})
    again = gather(told, outcomes_now, PLAN, earlier_plans=(), config=TrainingConfig())
    assert again.rows.tobytes() == before.rows.tobytes()


def test_a_report_without_a_time_is_of_when_it_was_recorded():
    decisions, outcomes = as_exported_now(*town(600, seed=1))
    timeless = outcomes.append_column("recorded_at", outcomes["time"])
    timeless = timeless.set_column(timeless.column_names.index("time"), "time", pa.nulls(timeless.num_rows, TIME))
    with_times = gather(decisions, outcomes, PLAN, earlier_plans=(), config=TrainingConfig())
    without = gather(decisions, timeless, PLAN, earlier_plans=(), config=TrainingConfig())
    assert without.accepted.tolist() == with_times.accepted.tolist()
    assert without.accepted.any()


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("state_vector", pa.array([[1.0]] * 600, pa.list_(pa.float32())), "state_vector: 1 values, .* 2 features"),
        ("local_minute_of_week", pa.array([10_080] * 600), "a week has 10080"),
        ("chosen_offer", pa.array(["gone"] * 600), "'gone' is not in the playbook"),
        ("chosen_offer", pa.array([2] * 600), "chosen_offer: index 2, the playbook has 2"),
        ("propensity", pa.array([None] * 600, pa.float64()), "propensity: 600 values are missing"),
        ("decided_at_us", pa.array(["soon"] * 600), "decided_at_us: not numbers"),
    ],
)
def test_a_table_that_is_no_export_is_refused_by_column(column, value, reason):
    decisions, outcomes = town(600, seed=1)
    wrong = decisions.set_column(decisions.column_names.index(column), column, value)
    with pytest.raises(BadExport, match=reason):
        train(wrong, outcomes, PLAN, seed=1)
    with pytest.raises(BadExport, match=f"column {NAMED_NOW.get(column, column)} is missing"):
        train(decisions.drop_columns([column]), outcomes, PLAN, seed=1)


def test_auc_and_logloss_have_their_textbook_values():
    accepted = np.array([False, False, True, True])
    assert auc(np.array([0.1, 0.4, 0.35, 0.8]), accepted) == 0.75
    assert auc(np.full(4, 0.3), accepted) == 0.5
    assert logloss(np.full(4, 0.5), accepted) == pytest.approx(np.log(2))
    assert logloss(np.array([0.0, 0, 1, 1]), accepted) == pytest.approx(1e-6, rel=1e-3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"window_us": 0},
        {"holdout_share": 0.95},
        {"stopping_share": 0.0},
        {"positives_min": 2},
        {"rows_min": 50},
        {"propensity_least": 0},
    ],
)
def test_a_configuration_that_cannot_work_is_refused(wrong):
    with pytest.raises(AssertionError):
        TrainingConfig(**wrong)
