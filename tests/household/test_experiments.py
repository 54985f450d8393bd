"""Control groups: who is drawn, that it is recorded for good, what is withheld on every way out, what would have been.

Laws: an arm is the one that the first 8 bytes of BLAKE2b(salt ‖ birth id) say; a share of control that grows lets
nobody go; once met, an arm stays, whatever a playbook says later, through snapshots and replay; nobody meets what they
are in control of, whichever way it would go out; what they would have been exposed to stands in the decision.
"""

import hashlib
from collections import Counter
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from household.apply import apply_decision, apply_epoch, apply_signals
from household.deciding.arbitration import is_control
from household.deciding.hand_over import next_step
from household.deciding.standing import why_not
from household.decision import Decision, Ghost
from household.decision_bytes import decode_decision, encode_decision
from household.delivery import DeliveryStep
from household.digest import state_digest
from household.experiments import assignment, control
from household.experiments.drawing import drawn_arm, salted_arm
from household.freeze import Freeze, Frozen, thaw
from household.migration import migrated
from household.plan import NONE, Arm, ContactClass, Experiment, Layer, Plan, plan_from_bytes
from household.plan.experiments import ALL_BP
from household.state import PartitionState
from household.tables.arms import AssignedBy
from tests.household.control_world import WAYS, World
from tests.household.oracle import batch_of
from tests.household.shop import (
    APP,
    BROADBAND,
    EAGER,
    FILM,
    HOUR,
    IVR,
    MUSIC,
    PLAN,
    WALLET,
    Shop,
    with_journey,
    with_offer,
)

LOW_BALANCE, INBOUND = 0, 1


def experiment(
    layer: Layer, control_bp: int, *others: Arm, name: str = "", salt: str = "s", **about: tuple[int, ...]
) -> Experiment:
    rest = ALL_BP - control_bp - sum(one.share_bp for one in others)
    arms = (Arm(name="control", share_bp=control_bp), *others, Arm(name="treated", share_bp=rest))
    return Experiment(name=name or layer.value, layer=layer, salt=salt, arms=arms, **about)


def with_experiments(plan: Plan, *experiments: Experiment) -> Plan:
    return replace(plan, experiments=experiments)


EVERYBODY = experiment(Layer.UNIVERSAL, ALL_BP)
NOBODY = experiment(Layer.UNIVERSAL, 0)


def households(count: int) -> list[bytes]:
    return [b"household-%d" % number for number in range(count)]


# --- drawing ---------------------------------------------------------------------------------------------------------


def where(salt: str, key: bytes) -> Fraction:
    """u, as it is written: an exact share of 1."""
    hashed = hashlib.blake2b(salt.encode("utf-8") + key).hexdigest()[:16]
    return Fraction(int(hashed, 16), 2**64)


@given(
    cuts=st.lists(st.integers(0, ALL_BP), min_size=0, max_size=4),
    salt=st.text(st.characters(codec="utf-8"), max_size=20),
    keys=st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=30),
)
def test_an_arm_is_where_the_hash_of_salt_and_birth_id_falls(cuts: list[int], salt: str, keys: list[bytes]):
    ends = [*sorted(cuts), ALL_BP]
    arms = tuple(
        Arm(name=f"arm{number}", share_bp=end - start)
        for number, (start, end) in enumerate(zip([0, *ends], ends, strict=False))
    )
    drawn = Experiment(name="e", layer=Layer.ACTION, salt=salt, arms=arms)
    for key in keys:
        at = where(salt, key)
        expected = next(arm for arm, end in zip(arms, ends, strict=True) if at < Fraction(end, ALL_BP))
        assert salted_arm(drawn, key) == expected


@settings(max_examples=25)
@given(shares=st.lists(st.integers(0, ALL_BP), min_size=2, max_size=6), other=st.integers(0, ALL_BP))
def test_a_growing_share_only_adds_households(shares: list[int], other: int):
    controls: set[bytes] = set()
    for share in sorted(shares):
        beside = (Arm(name="gentle", share_bp=min(other, ALL_BP - share)),)
        now = {
            key
            for key in households(2_000)
            if salted_arm(experiment(Layer.JOURNEY, share, *beside), key).name == "control"
        }
        assert controls <= now
        controls = now


def test_arms_hold_their_shares_and_salts_draw_apart():
    drawn = experiment(Layer.ACTION, 1_000, Arm(name="gentle", share_bp=4_500))
    keys = households(20_000)
    counts = Counter(salted_arm(drawn, key).name for key in keys)

    assert counts["control"] == pytest.approx(2_000, abs=150)
    assert counts["gentle"] == pytest.approx(9_000, abs=250)
    other = replace(drawn, salt="another")
    both = sum({salted_arm(one, key).name for one in (drawn, other)} == {"control"} for key in keys)
    assert both == pytest.approx(200, abs=60)


def test_a_journeys_own_share_draws_whom_it_always_drew():
    plan = with_journey(PLAN, "low_balance", control_share=0.3)
    (own,) = plan.all_experiments

    assert (own.name, own.layer, own.control_bp) == ("low_balance", Layer.JOURNEY, 3_000)
    for key in households(2_000):
        assert (drawn_arm(plan, own, key).name == "control") == is_control(plan, key, {"low_balance"})


def test_experiments_are_part_of_a_plan_and_silent_where_there_are_none():
    plan = with_experiments(PLAN, experiment(Layer.ACTION, 100, Arm(name="gentle", share_bp=50), offers=(FILM,)))

    assert plan_from_bytes(plan.canonical_bytes) == plan
    assert plan.version != PLAN.version
    assert b"experiments" not in PLAN.canonical_bytes


# --- records ---------------------------------------------------------------------------------------------------------


def arms_of(shop: Shop, household: str = "home") -> dict[str, str]:
    row, _ = shop.state.find(household.encode())
    return {one.experiment: one.arm for one in shop.state.arms.of(row)}


def under(shop: Shop, plan: Plan) -> None:
    shop.state = migrated(shop.state, plan)


def test_what_a_decision_meets_is_recorded_and_no_playbook_changes_it():
    treated = experiment(Layer.UNIVERSAL, 0, Arm(name="gentle", share_bp=ALL_BP), salt="first")
    shop = Shop(with_experiments(EAGER, treated, experiment(Layer.ACTION, 0, offers=(WALLET,))))
    shop.third_check()
    met_us = shop.now_us
    decision = shop.decide(APP)
    version = shop.state.plan.version

    (arm,) = decision.arms
    assert (arm.experiment, arm.layer, arm.arm, arm.share_bp) == ("universal", Layer.UNIVERSAL, "gentle", ALL_BP)
    assert (arm.salt, arm.version, arm.met_us, arm.reason) == ("first", version, met_us, AssignedBy.DRAWN)
    under(shop, with_experiments(EAGER, replace(EVERYBODY, salt="second")))
    shop.now_us += HOUR
    shop.third_check()
    later = shop.decide(APP)
    assert not later.withheld
    assert later.arms == (arm,)
    assert shop.state.arms.of(0) == (arm,)


def test_who_is_in_control_stays_there_when_the_share_shrinks_or_the_salt_is_another():
    shop = Shop(with_journey(EAGER, "low_balance", control_share=1.0))
    shop.third_check()
    assert shop.decide(APP).withheld
    (arm,) = shop.state.arms.of(0)
    assert (arm.arm, arm.share_bp, arm.reason) == ("control", ALL_BP, AssignedBy.DRAWN_OF_JOURNEY)
    smaller = with_journey(EAGER, "low_balance", control_share=0.01)
    under(shop, replace(smaller, arbitration=replace(smaller.arbitration, salt="another")))
    shop.now_us += HOUR
    shop.third_check()
    assert shop.decide(APP).withheld


def test_an_arm_is_recorded_however_long_its_decision_was_on_its_way():
    """A draft that is scored is older than the group in which its decision is written."""
    shop = Shop(with_experiments(PLAN, experiment(Layer.UNIVERSAL, 0)))
    shop.third_check()
    draft = shop.draft(APP)
    shop.pass_time(1)
    decision = shop.weigh(draft)
    assert [one.met_us for one in decision.arms] == [decision.decided_us]
    assert shop.record(decision)
    assert shop.state.arms.of(0) == decision.arms


def test_what_was_not_decided_meets_nothing():
    shop = Shop(with_experiments(PLAN, NOBODY))
    shop.third_check()
    shop.weigh(shop.draft(APP))
    assert arms_of(shop) == {}
    twice = shop.weigh(shop.draft(APP))
    assert shop.record(shop.weigh(shop.draft(APP)))
    met = shop.state.arms.of(0)
    shop.now_us += HOUR
    assert not shop.record(replace(twice, decided_us=shop.now_us, arms=(replace(twice.arms[0], arm="other"),)))
    assert shop.state.arms.of(0) == met


def replayed(plan: Plan, events: list, decisions: list[tuple[Decision, int]], stamp_us: int) -> PartitionState:
    state = PartitionState(plan=plan, stream_clock=False)
    apply_epoch(state, epoch=1)
    apply_signals(state, batch_of(plan, events), stamp_us=stamp_us)
    for offset, (decision, decided_us) in enumerate(decisions, 1):
        keys = {row: state.members.key(row) for row in range(state.members.count)}
        payload = encode_decision(decision, member_keys=keys)
        apply_decision(state, decode_decision(payload)[0], payload, epoch=1, offset=offset, stamp_us=decided_us)
    return state


def test_a_replay_and_a_snapshot_know_the_same_arms():
    plan = with_experiments(
        PLAN,
        experiment(Layer.UNIVERSAL, 3_000),
        experiment(Layer.ACTION, 3_000, offers=(FILM,), salt="t"),
        experiment(Layer.PROGRAMME, 3_000, Arm(name="gentle", share_bp=3_000), journeys=(LOW_BALANCE,), salt="u"),
    )
    shop, events, decisions = Shop(plan), [], []
    for number in range(30):
        who = {"household": f"home-{number}"}
        events += [shop.event("app.balance_check", ago_us=ago, **who) for ago in (2, 1, 0)]
    shop.fold(*events)
    for number in range(30):
        decisions.append((shop.decide(APP, household=f"home-{number}"), shop.now_us))
    assert {one.arm for one in shop.state.arms} == {"control", "gentle", "treated"}
    assert sum(decision.withheld for decision, _ in decisions) > 5
    assert any(decision.ghosts and not decision.withheld for decision, _ in decisions)

    assert state_digest(replayed(plan, events, decisions, shop.now_us)) == state_digest(shop.state)
    thawed = thaw(frozen(shop.state))
    assert state_digest(thawed) == state_digest(shop.state)
    assert list(thawed.arms) == list(shop.state.arms)
    shop.state = thawed
    under(shop, with_experiments(PLAN, EVERYBODY))
    assert [one.met_us for one in shop.state.arms] == [one.met_us for one in thawed.arms]


def frozen(state: PartitionState) -> Frozen | None:
    freeze = Freeze(state)
    while not freeze.step(10_000):
        pass
    return freeze.end()


# --- what is withheld ------------------------------------------------------------------------------------------------


def test_universal_control_meets_the_exempt_classes_and_nothing_else():
    for kept in (ContactClass.SERVICE, ContactClass.LEGAL, ContactClass.SECURITY):
        plan = with_offer(with_experiments(PLAN, EVERYBODY), MUSIC, contact_class=kept.value)
        shop = Shop(plan)
        shop.third_check()
        decision = shop.decide(APP)

        assert shop.offered(decision) == "music_topup"
        assert [one.offer for one in decision.slate] == ["music_topup"]
        assert decision.propensity == 1.0
        film = next(one for one in decision.candidates if one.offer == "film_topup")
        assert film.vetoes == ("CONTROL_GROUP",)
        assert film.value_minor == pytest.approx(200)
        assert decision.ghosts == (
            Ghost(
                offer="film_topup",
                journey="low_balance",
                channel="app",
                time_us=shop.now_us,
                experiments=("universal",),
            ),
        )
    for other in (ContactClass.OFFER, ContactClass.REWARD, ContactClass.SURVEY):
        shop = Shop(with_offer(with_experiments(PLAN, EVERYBODY), MUSIC, contact_class=other.value))
        shop.third_check()
        decision = shop.decide(APP)
        assert decision.withheld
        assert (decision.answered, decision.reasons[0]) == ("", "CONTROL_GROUP")


def test_what_the_law_requires_is_said_whoever_is_in_control_of_it():
    plan = with_journey(PLAN, "low_balance", control_share=1.0)
    everything = (
        EVERYBODY,
        experiment(Layer.PROGRAMME, ALL_BP, journeys=(LOW_BALANCE,), salt="p"),
        experiment(Layer.ACTION, ALL_BP, offers=(FILM, MUSIC), salt="a"),
    )
    shop = Shop(with_offer(with_experiments(plan, *everything), MUSIC, contact_class="legal"))
    shop.third_check()

    assert shop.offered(shop.decide(APP)) == "music_topup"


@pytest.mark.parametrize(
    ("layer", "about", "offered"),
    [
        (Layer.ACTION, {"offers": (FILM,)}, "music_topup"),
        (Layer.REWARD, {"offers": (FILM,)}, "music_topup"),
        (Layer.REWARD, {}, "music_topup"),
        (Layer.PROGRAMME, {"journeys": (LOW_BALANCE, INBOUND)}, ""),
        (Layer.JOURNEY, {"journeys": (LOW_BALANCE,)}, ""),
        (Layer.JOURNEY, {"journeys": (INBOUND,)}, "film_topup"),
        (Layer.ACTION, {"offers": (WALLET,)}, "film_topup"),
    ],
)
def test_a_layer_withholds_what_it_is_about(layer: Layer, about: dict, offered: str):
    plan = with_offer(with_experiments(PLAN, experiment(layer, ALL_BP, **about)), FILM, contact_class="reward")
    shop = Shop(plan)
    shop.third_check()
    decision = shop.decide(APP)

    assert shop.offered(decision) == offered
    assert decision.withheld == (not offered)
    assert bool(decision.ghosts) == (offered != "film_topup")
    assert bool(decision.arms) == (offered != "film_topup")


def test_a_contact_meets_the_journeys_that_it_started():
    shop = Shop(with_experiments(PLAN, experiment(Layer.JOURNEY, ALL_BP, journeys=(INBOUND,))))
    shop.signal("app.visit")
    decision = shop.decide(APP)

    assert decision.withheld
    (ghost,) = decision.ghosts
    assert (ghost.offer, ghost.journey, ghost.channel) == (decision.slate[0].offer, "", "app")


def test_what_would_have_been_sent_is_a_ghost_at_its_time():
    shop = Shop(with_experiments(PLAN, EVERYBODY))
    shop.signal("app.consent", is_on=True)
    shop.third_check()
    decision = shop.decide()

    assert decision.withheld
    assert decision.send_channel == ""
    (ghost,) = decision.ghosts
    assert (ghost.offer, ghost.channel, ghost.time_us) == ("film_topup", "push", shop.now_us)
    assert len(shop.state.outbox) == 0


def test_a_treated_household_leaves_no_ghost_and_tells_its_arm():
    shop = Shop(with_experiments(PLAN, NOBODY))
    shop.third_check()
    decision = shop.decide(APP)

    assert decision.ghosts == ()
    assert [(one.experiment, one.arm) for one in decision.arms] == [("universal", "treated")]


def test_without_experiments_a_decision_says_nothing_of_them():
    shop = Shop()
    shop.third_check()
    decision = shop.decide(APP)

    assert (decision.arms, decision.ghosts) == ((), ())
    assert len(shop.state.arms) == 0
    assert b"arms" not in encode_decision(decision, member_keys={0: b"anna"})


# --- what was decided before -----------------------------------------------------------------------------------------


def sent_later(plan: Plan) -> tuple[Shop, Decision]:
    shop = Shop(plan)
    shop.signal("app.consent", is_on=True)
    shop.third_check()
    return shop, shop.decide()


def test_what_waits_to_be_sent_is_taken_back_when_a_new_experiment_has_her_in_control():
    shop, decision = sent_later(PLAN)
    action = decision.slate[0].action_id
    assert next_step(shop.state, action, ["push"]).step is DeliveryStep.HANDED
    under(shop, with_experiments(PLAN, EVERYBODY))

    note = next_step(shop.state, action, ["push"])
    assert (note.step, note.reason) == (DeliveryStep.WITHDRAWN, "CONTROL_GROUP")
    assert why_not(shop.state, action) == "CONTROL_GROUP"


def test_a_slate_that_stands_is_not_served_to_who_is_in_control_by_now():
    shop = Shop(PLAN)
    shop.third_check()
    first = shop.decide(APP)
    assert shop.decide(APP).stands == first.decision_id
    under(shop, with_experiments(PLAN, experiment(Layer.PROGRAMME, ALL_BP, journeys=(LOW_BALANCE,))))
    again = shop.decide(APP)

    assert (again.stands, shop.offered(again)) == ("", again.slate[0].offer if again.slate else "")
    assert {one.reason for one in again.withdrawals} == {"CONTROL_GROUP"}


def test_a_slate_of_a_contact_is_taken_back_for_the_journey_that_brought_it():
    shop = Shop(PLAN)
    shop.signal("app.visit")
    shop.decide(APP)
    under(shop, with_experiments(PLAN, experiment(Layer.JOURNEY, ALL_BP, journeys=(INBOUND,))))
    again = shop.decide(APP)

    assert again.withheld
    assert {one.reason for one in again.withdrawals} == {"CONTROL_GROUP"}


def test_who_was_treated_when_it_was_decided_keeps_it():
    shop, decision = sent_later(with_experiments(PLAN, NOBODY))
    under(shop, with_experiments(PLAN, EVERYBODY))

    assert next_step(shop.state, decision.slate[0].action_id, ["push"]).step is DeliveryStep.HANDED


# --- by address ------------------------------------------------------------------------------------------------------


def test_nothing_goes_to_an_address_that_a_household_in_control_has(monkeypatch: pytest.MonkeyPatch):
    drawn = experiment(Layer.UNIVERSAL, 5_000)
    keys = [key.decode() for key in households(40)]
    treated = next(key for key in keys if salted_arm(drawn, key.encode()).name == "treated")
    controlled = next(key for key in keys if salted_arm(drawn, key.encode()).name == "control")
    shop = Shop(with_experiments(PLAN, drawn))
    for household in (treated, controlled):
        shop.signal("app.consent", is_on=True, household=household)
        shop.third_check(household=household)
    sent = shop.decide(household=treated)
    assert sent.send_channel == "push"
    rows = tuple(shop.state.find(one.encode())[0] for one in (treated, controlled))
    monkeypatch.setattr(control, "those_who_share", lambda state, household, member: rows)

    note = next_step(shop.state, sent.slate[0].action_id, ["push"])
    assert (note.step, note.reason) == (DeliveryStep.WITHDRAWN, "CONTROL_GROUP")
    shop.now_us += HOUR
    asked = shop.decide(APP, household=treated)
    assert shop.offered(asked) == ""
    assert arms_of(shop, treated) == {"universal": "treated"}


def test_of_households_that_are_one_by_now_control_is_what_counts_for_what_is_said(monkeypatch: pytest.MonkeyPatch):
    drawn = experiment(Layer.UNIVERSAL, 5_000)
    keys = [key.decode() for key in households(40)]
    treated = next(key for key in keys if salted_arm(drawn, key.encode()).name == "treated")
    controlled = next(key for key in keys if salted_arm(drawn, key.encode()).name == "control")
    shop = Shop(with_experiments(EAGER, drawn))
    for household in (treated, controlled):
        shop.third_check(household=household)
        shop.decide(APP, household=household)
        shop.now_us += HOUR
    monkeypatch.setattr(PartitionState, "rows_together", lambda self, household: (0, 1))
    both = lambda self, table, household: (*table.of(0), *table.of(1))  # noqa: E731
    monkeypatch.setattr(PartitionState, "together", both)
    for household in (treated, controlled):
        shop.third_check(household=household)
        decision = shop.decide(APP, household=household)
        assert (decision.withheld, decision.answered) == (True, "")
        # What is measured by is the arm that was met first.
        assert [one.arm for one in decision.arms] == ["treated"]
    assert sorted(one.arm for one in shop.state.arms) == ["control", "treated"]


def test_a_household_shares_with_itself():
    shop = Shop()
    shop.signal("app.visit")

    assert assignment.those_who_share(shop.state, 0, 0) == (0,)
    assert assignment.birth_id(shop.state, 0) == b"home"


# --- all ways out ----------------------------------------------------------------------------------------------------


def test_over_many_decisions_on_all_ways_out_nobody_meets_what_they_are_in_control_of():
    experiments = (
        experiment(Layer.UNIVERSAL, 1_000, salt="1"),
        experiment(Layer.PROGRAMME, 1_000, journeys=(LOW_BALANCE,), salt="2"),
        experiment(Layer.JOURNEY, 1_000, journeys=(INBOUND,), salt="3"),
        experiment(Layer.ACTION, 1_000, Arm(name="half", share_bp=5_000), offers=(WALLET, FILM), salt="4"),
        experiment(Layer.REWARD, 1_000, salt="5"),
    )
    plan = with_offer(with_experiments(EAGER, *experiments), BROADBAND, contact_class="service")
    plan = with_offer(with_offer(plan, MUSIC, contact_class="reward"), WALLET, eligible=NONE)
    by_offer = {
        "film_topup": {"universal", "programme", "action"},
        "music_topup": {"universal", "programme", "reward"},
        "wallet": {"universal", "journey", "action"},
        "broadband": {"journey"},
    }
    shop, seen = Shop(plan), Counter()
    for number in range(500):
        household = f"home-{number}"
        mine = {one.name for one in experiments if salted_arm(one, household.encode()).name == "control"}
        shop.signal("app.consent", is_on=True, household=household)
        for channel in (APP, NONE, IVR):
            if channel == NONE:
                shop.third_check(household=household)
            else:
                shop.signal("app.visit", household=household)
            decision = shop.decide(channel, household=household)
            if not decision.withheld:
                assert all(mine.isdisjoint(by_offer[one.offer]) for one in decision.slate)
                seen["treated"] += bool(decision.slate)
            else:
                assert all(mine & by_offer[one.offer] for one in decision.slate)
                assert (decision.answered, decision.send_channel) == ("", "")
                seen["withheld"] += 1
            for ghost in decision.ghosts:
                assert set(ghost.experiments) == mine & by_offer[ghost.offer] != set()
                seen["ghosts"] += 1
        row, _ = shop.state.find(household.encode())
        assert all((one.arm == "control") == (one.experiment in mine) for one in shop.state.arms.of(row))
    assert min(seen.values()) > 50
    assert len(seen) == 3


def test_nobody_in_control_is_treated_through_restart_growth_and_merges_and_who_is_would_be_found(
    monkeypatch: pytest.MonkeyPatch,
):
    # tests/benches/control_bench.py does the same by the million.
    counts = World(0).live(40)
    assert counts.findings == []
    assert all(counts.ways[way] for way in WAYS), counts.ways
    assert min(counts.withheld, counts.ghosts) > 10

    monkeypatch.setattr(control.Controls, "__contains__", lambda *_: False)
    assert World(0).live(10).findings
