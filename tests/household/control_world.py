"""Many households under five control groups, asked about and spoken to on all ways out; a judge of who is treated.

The judge draws arms by itself, from the words of the rule: the first 8 bytes of BLAKE2b(salt ‖ birth id) as a share of
1, against cumulated basis points, control first. What was met once stays, whatever the shares are by then; of two
households that are one by now, control counts. It knows which offers each control group is about, and nothing else.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass, field, replace
from fractions import Fraction

from household.apply import apply_signals
from household.deciding.hand_over import next_step
from household.decision import Decision, SlateAction
from household.delivery import DeliveryStep
from household.freeze import Freeze, thaw
from household.migration import migrated
from household.plan import NONE, Arm, Experiment, Layer, Plan
from tests.household.graph_reference import Said
from tests.household.graph_worlds import batch_of_told
from tests.household.shop import APP, BROADBAND, DAY, EAGER, FILM, HOUR, IVR, MINUTE, MUSIC, WALLET, Shop, with_offer

ALL = 10_000
SALTS = {"universal": "1", "programme": "2", "journey": "3", "action": "4", "reward": "5"}
ABOUT = {
    "film_topup": {"universal", "programme", "action"},
    "music_topup": {"universal", "programme", "reward"},
    "wallet": {"universal", "journey", "action"},
    "broadband": {"journey"},
}
"""Offer → the control groups that are about it; broadband is of the class service, which universal control meets."""

WAYS = ("answered", "answered elsewhere", "handed over", "handed over again")


def plan_of(control_bp: int) -> Plan:
    """Return the playbook, with a share of control in each layer."""

    def experiment(layer: Layer, *others: Arm, **about: tuple[int, ...]) -> Experiment:
        rest = ALL - control_bp - sum(one.share_bp for one in others)
        arms = (Arm(name="control", share_bp=control_bp), *others, Arm(name="treated", share_bp=rest))
        return Experiment(name=layer.value, layer=layer, salt=SALTS[layer.value], arms=arms, **about)

    experiments = (
        experiment(Layer.UNIVERSAL),
        experiment(Layer.PROGRAMME, journeys=(0,)),
        experiment(Layer.JOURNEY, journeys=(1,)),
        experiment(Layer.ACTION, Arm(name="half", share_bp=5_000), offers=(WALLET, FILM)),
        experiment(Layer.REWARD),
    )
    plan = replace(EAGER, experiments=experiments)
    plan = with_offer(with_offer(plan, BROADBAND, contact_class="service"), MUSIC, contact_class="reward")
    return with_offer(plan, WALLET, eligible=NONE)


@dataclass
class Counts:
    """What happened."""

    decisions: int = 0
    ways: Counter[str] = field(default_factory=Counter)
    withheld: int = 0
    ghosts: int = 0
    findings: list[str] = field(default_factory=list)


class Judge:
    """Who is in control of what."""

    def __init__(self, control_bp: int) -> None:
        """`control_bp`: the share that counts for what is met from now on."""
        self.control_bp = control_bp
        self._met: dict[tuple[str, str], str] = {}
        self._one_with: dict[str, str] = {}

    def merge(self, one: str, other: str) -> None:
        """Two households are one from now on."""
        self._one_with[one], self._one_with[other] = other, one

    def _names(self, household: str) -> list[str]:
        return [household, *filter(None, [self._one_with.get(household)])]

    def arm(self, household: str, experiment: str) -> str:
        """Return whether a household is in control: as it was met, or as it is drawn now."""
        known = [self._met.get((one, experiment)) for one in self._names(household)]
        if any(known):
            return "control" if "control" in known else "other"
        # Of households that are one it is drawn by the one that stands: the one that was seen first.
        hashed = hashlib.blake2b((SALTS[experiment] + min(self._names(household), key=number_of)).encode()).digest()
        share = Fraction(int.from_bytes(hashed[:8], "big"), 2**64)
        return "control" if share < Fraction(self.control_bp, ALL) else "other"

    def meet(self, household: str, experiment: str) -> str:
        """Return the same, and keep it for good."""
        arm = self.arm(household, experiment)
        self._met.setdefault((household, experiment), arm)
        return arm

    def controls(self, household: str, offer: str) -> set[str]:
        """Return by which control groups a household is not to meet an offer."""
        return {one for one in ABOUT[offer] if self.arm(household, one) == "control"}


def number_of(household: str) -> int:
    """Return which household it is."""
    return int(household.partition("-")[2])


class World:
    """Some households in one partition."""

    def __init__(self, first: int, *, control_bp: int = 1_000) -> None:
        """`first`: number of the first household: others are drawn into other arms."""
        self.first = first
        self.shop = Shop(plan_of(control_bp))
        self.judge = Judge(control_bp)
        self.counts = Counts()

    def live(self, households: int) -> Counts:
        """Let all of it happen to so many households: the share grows, and everything starts again, in between."""
        names = [f"home-{number}" for number in range(self.first, self.first + households)]
        for name in names:
            self._ask_everywhere(name)
        self._restart()
        self._grow(2_000)
        self.shop.pass_time(2 * DAY)
        for name in names:
            self._ask_everywhere(name)
        for one, other in zip(names[::2], names[1::2], strict=False):
            self._merge(one, other)
        self.shop.pass_time(2 * DAY)
        for name in names:
            self._ask_everywhere(name)
        self._compare(names)
        return self.counts

    def _ask_everywhere(self, household: str) -> None:
        shop = self.shop
        shop.signal("app.consent", is_on=True, household=household)
        shop.signal("app.visit", household=household)
        self._look(household, shop.decide(APP, household=household), "answered")
        shop.third_check(household=household)
        unasked = shop.decide(NONE, household=household)
        self._look(household, unasked, "handed over")
        if unasked.send_channel:
            self._hand_over(household, unasked.slate[0], unasked.send_channel)
        shop.now_us += MINUTE
        shop.signal("app.visit", household=household)
        self._look(household, shop.decide(IVR, household=household), "answered elsewhere")
        shop.now_us += HOUR

    def _look(self, household: str, decision: Decision, way: str) -> None:
        self.counts.decisions += 1
        judge = self.judge
        slate = self._slate_of(decision)
        if not decision.stands:
            offers = {one.offer for one in (*decision.slate, *decision.ghosts)}
            # What would have been said beside what is said is met, too.
            for experiment in sorted({one.experiment for one in decision.arms}.union(*(ABOUT[one] for one in offers))):
                judge.meet(household, experiment)
        if decision.withheld:
            self.counts.withheld += 1
            if decision.answered or decision.send_channel:
                self._find(f"{household}: withheld, and {decision.answered or decision.send_channel}")
            if not all(judge.controls(household, one.offer) for one in slate):
                self._find(f"{household}: withheld what nothing speaks against")
            slate = ()
        for one in slate:
            if one.action_id == decision.answered:
                self.counts.ways[way] += 1
            if controls := judge.controls(household, one.offer):
                self._find(f"{household}: {one.offer} is {way}, in control of {sorted(controls)}")
        for ghost in decision.ghosts:
            self.counts.ghosts += 1
            if set(ghost.experiments) != judge.controls(household, ghost.offer) or not ghost.experiments:
                self._find(f"{household}: a ghost by {ghost.experiments}")

    def _slate_of(self, decision: Decision) -> tuple[SlateAction, ...]:
        """Return what a decision says; of a slate that stands, wherever of a household's rows it lies."""
        if not decision.stands:
            return decision.slate
        state = self.shop.state
        stand = state.together(state.slates, state.find(decision.household)[0])
        return next(one.decision.slate for one in stand if one.decision_id == decision.stands)

    def _hand_over(self, household: str, action: SlateAction, channel: str) -> None:
        for way in ("handed over", "handed over again"):
            note = next_step(self.shop.state, action.action_id, (channel,))
            if note is None:
                return
            if note.step is DeliveryStep.HANDED:
                self.counts.ways[way] += 1
                if controls := self.judge.controls(household, action.offer):
                    self._find(f"{household}: {action.offer} is {way}, in control of {sorted(controls)}")
            self.shop.note(action.action_id, note.step, channel, reason=note.reason)
            # Its gateway died, or never had it: another is handed it.
            self.shop.now_us += MINUTE
            if way == "handed over":
                self.shop.note(action.action_id, DeliveryStep.KEPT_BACK, channel)

    def _restart(self) -> None:
        freeze = Freeze(self.shop.state)
        while not freeze.step(1_000):
            pass
        frozen = freeze.end()
        assert frozen is not None
        self.shop.state = thaw(frozen)

    def _grow(self, control_bp: int) -> None:
        self.shop.state = migrated(self.shop.state, plan_of(control_bp))
        self.judge.control_bp = control_bp

    def _merge(self, one: str, other: str) -> None:
        said = Said(
            f"merge {one}".encode(), "merge", self.shop.now_us, household=one, other=other, cause=f"merge {one}"
        )
        applied = apply_signals(self.shop.state, batch_of_told(self.shop.state.plan, [said]), stamp_us=self.shop.now_us)
        assert not applied.statuses.any()
        self.judge.merge(one, other)

    def _compare(self, names: list[str]) -> None:
        """Look whether what is recorded is what the judge keeps."""
        state = self.shop.state
        for name in names:
            row, _ = state.find(name.encode())
            for one in state.arms.of(row):
                kept = self.judge._met.get((name, one.experiment))
                if kept != ("control" if one.is_control else "other"):
                    self._find(f"{name}: recorded in {one.arm} of {one.experiment}, was {kept}")

    def _find(self, finding: str) -> None:
        self.counts.findings.append(finding)
