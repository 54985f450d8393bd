"""A quarter of the town under all arms: one life unasked, and what each arm makes of it.

Quarters are independent, so they share the work between processes; how many of them there are depends on the town
alone, so who works on which shows nowhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from household.plan import Plan
from loadtest.arms.assumptions import Assumptions
from loadtest.arms.core import Core, Score, Spoken, priors
from loadtest.arms.events import events_of, events_said, household_key, member_key
from loadtest.arms.fates import Fates, World
from loadtest.arms.learning import Model, SeenAction, example_of
from loadtest.arms.needs import draw_needs, signals_of
from loadtest.arms.outcomes import ArmName, ArmOutcomes
from loadtest.arms.plans import CAMPAIGN, batch_plan, moment_plan
from loadtest.town import MONDAY_US, NO_CHANNEL, Town
from loadtest.town.rhythm import US_PER_DAY, US_PER_HOUR, US_PER_SECOND
from loadtest.town.signals import TownSignals, joined
from loadtest.town.vocabulary import BALANCE_CHECK

SLICE_US = 600 * US_PER_SECOND
"""Signals are folded, and those that call for it answered, every so often: a moment is met half of it late on average,
and well within its action window."""

NIGHT_ENDS_HOUR = 6
"""Before, so little happens that it is folded by the hour."""

CAMPAIGN_HOUR = 10

PILOT_EXPLORES = 0.7
"""Share of what the pilot says that is drawn from all that may be said, so that there is something to learn of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    """What is lived, and by how many."""

    seed: int
    households: int
    days: int
    days_before: int = 28
    """In which nothing is said, so that features are filled and every household's past is known."""


class _ArmOf:
    """One arm: its households, and the core that treats them; None for control."""

    def __init__(
        self,
        lives: Fates,
        core: Core | None,
        *,
        runs_campaigns: bool = False,
        examples: list[SeenAction] | None = None,
        said_before: int = 0,
    ) -> None:
        """Begin an arm.

        Args:
            lives: its households.
            core: what treats them; None for nothing.
            runs_campaigns: whether everybody has their turn once in a while.
            examples: takes what there is to learn from; None where nothing is learned.
            said_before: numbers that events of before have, of which the core may know some still.
        """
        self.lives, self.core, self.runs_campaigns, self.examples = lives, core, runs_campaigns, examples
        self.said_before = said_before

    def live(self, signals: TownSignals, moments: "_Times", town: Town) -> None:
        """Live through an hour."""
        lives, core = self.lives, self.core
        signals = signals.take(lives.left_us[signals.households] > moments.begin_us)
        lives.revenue_minor += np.bincount(signals.households, _paid(signals, town), minlength=len(lives.revenue_minor))
        if core is None:
            lives.until(moments.end_us)
            lives.said.clear()
            return
        events = events_of(signals, core.plan)
        asking = _asking(signals, town, lives.world.assumed.ask_share)
        start = 0
        for now_us in moments:
            stop = int(np.searchsorted(signals.times_us, now_us))
            lives.until(now_us)
            self._fold_said(now_us)
            if stop > start:
                core.fold(events.part(start, stop), now_us)
            for row in asking[(asking >= start) & (asking < stop)].tolist():
                self._ask(signals, row, town, now_us)
            core.decide_moments(now_us)
            for spoken in core.hand_over(now_us):
                self._reach(spoken, now_us)
            start = stop
        core.pass_time(moments.end_us)

    def run_campaign(self, time_us: int) -> None:
        """Let the batch arm choose for everybody and send."""
        core, people = self.core, self.lives.world.people
        assert core is not None
        here = np.flatnonzero(self.lives.left_us[people.household] > time_us)
        kinds = np.full(len(here), core.plan.event_type_by_name[CAMPAIGN], np.int16)
        ids = np.stack([np.full(len(here), time_us, np.uint64), here.astype(np.uint64)], axis=1)
        signals = TownSignals(
            times_us=np.full(len(here), time_us),
            households=people.household[here],
            members=people.number[here],
            kinds=kinds,
            ids=ids,
            values={},
        )
        core.fold(events_of(signals, core.plan), time_us)
        core.decide_moments(time_us)

    def _ask(self, signals: TownSignals, row: int, town: Town, now_us: int) -> None:
        assert self.core is not None
        channel = int(town.contact_channels(signals.take(slice(row, row + 1)))[0])
        household, number = int(signals.households[row]), int(signals.members[row])
        spoken = self.core.ask(
            household_key(household),
            member_key(number),
            channel,
            frozenset((int(signals.kinds[row]),)),
            f"r{signals.ids[row, 0]}-{signals.ids[row, 1]}",
            now_us,
        )
        if spoken is not None:
            self._reach(spoken, now_us)

    def _reach(self, spoken: Spoken, now_us: int) -> None:
        is_accepted = self.lives.reached(spoken, now_us)
        if is_accepted is not None and self.examples is not None:
            self.examples.append(example_of(spoken, self.lives.world.plan, is_accepted=is_accepted))

    def _fold_said(self, now_us: int) -> None:
        said = [one for one in self.lives.said if one.time_us <= now_us]
        if said and self.core is not None:
            self.lives.said = [one for one in self.lives.said if one.time_us > now_us]
            self.core.fold(events_said(said, self.core.plan, self.said_before), now_us)
            self.said_before += len(said)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Times:
    """When within an hour things are looked at."""

    begin_us: int
    end_us: int
    step_us: int

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.begin_us + self.step_us, self.end_us + 1, self.step_us))


def _paid(signals: TownSignals, town: Town) -> NDArray[np.float64]:
    """Return (rows,) what each brings in: bills and top-ups."""
    words = town.vocabulary
    paying = np.isin(signals.kinds, [words.event["billing.bill_issued"], words.event["billing.topup"]])
    amounts = signals.values.get(words.field["amount_minor"])
    return np.where(paying, amounts, 0.0) if amounts is not None else np.zeros(signals.count)


def _asking(signals: TownSignals, town: Town, share: float) -> NDArray[np.int64]:
    """Return the rows at which a channel asks: so many of those in contact, and all who look at their balance."""
    contacts = np.flatnonzero(town.contact_channels(signals) != NO_CHANNEL)
    mixed = (signals.ids[contacts, 0] * np.uint64(0x9E3779B97F4A7C15)) ^ (
        signals.ids[contacts, 1] * np.uint64(0xD6E8FEB86659FD93)
    )
    mixed = (mixed ^ (mixed >> np.uint64(31))) * np.uint64(0x94D049BB133111EB)
    chance = (mixed >> np.uint64(11)).astype(np.float64) / 2.0**53
    looks = signals.kinds[contacts] == town.vocabulary.event[BALANCE_CHECK]
    asking: NDArray[np.int64] = contacts[looks | (chance < share)]
    return asking


def pilot(stay: Stay, plan: Plan, assumed: Assumptions) -> list[SeenAction]:
    """Return what is to be learned of a quarter that is treated in the moment, much of it by chance, by the priors."""
    by_chance = replace(plan, arbitration=replace(plan.arbitration, exploration=PILOT_EXPLORES))
    lived = _lived(stay, by_chance, assumed, (ArmName.MOMENT,), priors, learns=True)
    return lived.arms[0].examples or []


def live_quarter(stay: Stay, plan: Plan, assumed: Assumptions, model: bytes = b"") -> ArmOutcomes:
    """Return what becomes of the households of one quarter under every arm; the same for the same arguments.

    Args:
        stay: who, and for how long.
        plan: the playbook.
        assumed: of people.
        model: by which both arms that say anything score, as `learning.learned` made it; empty for the priors.
    """
    return _outcomes(_lived(stay, plan, assumed, tuple(ArmName), Model(model) if model else priors))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lived:
    arms: list[_ArmOf]
    revenue_before_minor: NDArray[np.float64]
    taken_before: NDArray[np.float64]


def _lived(
    stay: Stay, plan: Plan, assumed: Assumptions, names: tuple[ArmName, ...], score: Score, *, learns: bool = False
) -> _Lived:
    town = Town(
        seed=stay.seed, households=stay.households, start_us=MONDAY_US, days=stay.days_before + stay.days, plan=plan
    )
    world = _world(stay, plan, assumed, town)
    needs_signals = signals_of(world.needs, town.people, town.vocabulary, seed=stay.seed)
    before = _ArmOf(Fates(world), Core(replace(plan, journeys=(), experiments=())))
    assert before.core is not None
    hours = _hours(town, needs_signals)
    before.core.fold(events_of(next(hours), before.core.plan), town.start_us)
    arms = [before]
    first_hour = 24 * stay.days_before
    campaign_us = town.start_us + first_hour * US_PER_HOUR + CAMPAIGN_HOUR * US_PER_HOUR
    for hour, signals in enumerate(hours):
        begin_us = town.start_us + hour * US_PER_HOUR
        if hour == first_hour:
            arms = [_arm(name, before, plan, assumed, score, learns=learns) for name in names]
        is_coarse = hour < first_hour or (begin_us + town.utc_offset_us) // US_PER_HOUR % 24 < NIGHT_ENDS_HOUR
        step_us = US_PER_HOUR if is_coarse else SLICE_US
        times = _Times(begin_us=begin_us, end_us=begin_us + US_PER_HOUR, step_us=step_us)
        is_campaign = hour >= first_hour and begin_us >= campaign_us
        campaign_us += round(assumed.batch_days * 24) * US_PER_HOUR if is_campaign else 0
        for arm in arms:
            if is_campaign and arm.runs_campaigns:
                arm.run_campaign(begin_us)
            arm.live(signals, times, town)
            if hour % 24 == 23:
                arm.lives.day_over(times.end_us)
    lives = before.lives
    return _Lived(arms=arms, revenue_before_minor=lives.revenue_minor, taken_before=lives.taken_up)


def _world(stay: Stay, plan: Plan, assumed: Assumptions, town: Town) -> World:
    people = town.people
    draw = np.random.default_rng([stay.seed, 13])
    return World(
        seed=stay.seed,
        plan=plan,
        people=people,
        preferences=town.preferences,
        needs=draw_needs(people, assumed, seed=stay.seed, start_us=town.start_us, days=stay.days_before + stay.days),
        assumed=assumed,
        holds=_held_before(town),
        patience=draw.exponential(1.0, stay.households),
        start_us=town.start_us,
        utc_offset_us=town.utc_offset_us,
    )


def _held_before(town: Town) -> NDArray[np.bool_]:
    """Return (households, families) what the set-up signals say is held."""
    plan, words = town.plan, town.vocabulary
    held = np.zeros((town.households, len(plan.families)), np.bool_)
    told = next(town.hours())
    rows = told.take(told.kinds == words.event["billing.product_activated"])
    products = plan.fields[words.field["product"]].values
    families = {one.name: one.families for one in plan.products}
    for code, name in enumerate(products):
        chosen = rows.households[rows.values[words.field["product"]] == code]
        for family in families.get(name, ()):
            held[chosen, plan.families.index(family)] = True
    wallets = told.households[told.kinds == words.event["wallet.activated"]]
    held[wallets, plan.families.index("wallet")] = True
    return held


def _hours(town: Town, needs_signals: TownSignals) -> Iterator[TownSignals]:
    """Yield the set-up and each hour, with what needs lead to and without what stood for them in the town."""
    low = town.vocabulary.event[BALANCE_CHECK]
    for hour, signals in enumerate(town.hours(), start=-1):
        member = town.people.first_member[signals.households] + np.maximum(signals.members, 0)
        signals = signals.take(~((signals.kinds == low) & town.people.is_running_low[member]))
        if hour < 0:
            yield signals
            continue
        begin_us = town.start_us + hour * US_PER_HOUR
        start, stop = np.searchsorted(needs_signals.times_us, [begin_us, begin_us + US_PER_HOUR])
        yield joined([signals, needs_signals.take(slice(int(start), int(stop)))]).sorted_by_time()


def _arm(name: ArmName, before: _ArmOf, plan: Plan, assumed: Assumptions, score: Score, *, learns: bool) -> _ArmOf:
    """Return an arm, with the households in the state that they are in."""
    assert before.core is not None
    lives, said_before = before.lives.copied(), before.said_before
    match name:
        case ArmName.CONTROL:
            return _ArmOf(lives, None)
        case ArmName.BATCH:
            every_us = round(assumed.batch_days * US_PER_DAY)
            core = Core(batch_plan(plan, every_us=every_us), before.core.copied_state(), score)
            return _ArmOf(lives, core, runs_campaigns=True, said_before=said_before)
        case ArmName.MOMENT:
            core = Core(moment_plan(plan), before.core.copied_state(), score)
            return _ArmOf(lives, core, examples=[] if learns else None, said_before=said_before)


def _outcomes(lived: _Lived) -> ArmOutcomes:
    lives = [one.lives for one in lived.arms]
    revenue_before, taken_before, assumed = lived.revenue_before_minor, lived.taken_before, lives[0].world.assumed

    def of(name: str) -> NDArray[np.float64]:
        return np.stack([getattr(one, name) for one in lives]).astype(np.float64)

    revenue = of("revenue_minor") - revenue_before
    return ArmOutcomes(
        conversion=(of("taken_up") > taken_before).astype(np.float64),
        revenue_minor=revenue,
        margin_minor=assumed.margin * revenue - of("cost_minor"),
        left=np.stack([one.has_left for one in lives]).astype(np.float64),
        sent=of("sent"),
        shown=of("shown"),
        accepted=of("accepted"),
        revenue_before_minor=revenue_before,
        taken_before=taken_before,
    )
