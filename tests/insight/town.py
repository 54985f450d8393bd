"""The town as trials with known truth: who would accept what, from its hidden preferences, without a running Hearth.

Households are drawn with replacement from one town, so the truth is the mean over all of the town; members of a
household decide one by one and resemble each other. What Hearth could know of them is the context.
"""

import functools
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hearth.v1 import decision_pb2
from household.plan import Plan
from insight.evaluation.decisions import Choices, LoggedDecisions
from insight.evaluation.policies import Policy
from insight.uplift.trial import Trial
from loadtest.shipped import SHIPPED_PLAYBOOK
from loadtest.town.people import People, Persona, settle
from loadtest.town.preferences import Preferences
from playbooks.compiler import compile_playbook

Floats = NDArray[np.float64]

HOUSEHOLDS = 1_200
NAMED = ("topup_film_box", "data_weekend", "fibre_start", "wallet_card", "kids_pack", "low_latency")
OFFERS = len(NAMED)
EXPLORATION = 0.3
EVENING = 19
TREATED_WITH = 5


@functools.cache
def shipped_plan() -> Plan:
    return compile_playbook(SHIPPED_PLAYBOOK)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KnownTown:
    """Everybody's chances, and what a decision may know."""

    people: People
    accepts: Floats
    """(members, offers) P(accept), hidden."""
    context: Floats
    """(members, columns) visible."""
    logged: Floats
    """(members, offers) with what probability each offer comes first today: the best by a crude guess, or any."""
    wanted: Floats
    """(members, offers) the same of the policy to evaluate."""
    score: Floats
    """(members,) what context and persona tell of accepting the offer of `treated_town`: a part of it."""

    @property
    def truth(self) -> float:
        """What the wanted policy brings per decision."""
        return float((self.wanted * self.accepts).sum(axis=1).mean())


@functools.cache
def known_town(seed: int = 5) -> KnownTown:
    """Return the town whose truth is known."""
    plan = shipped_plan()
    people = settle(seed=seed, household_count=HOUSEHOLDS, pack_count=3)
    likes = Preferences(seed=seed, people=people, plan=plan)
    # Named, since another playbook's other offers would be another truth.
    offers = [one for one in plan.offers if one.name in NAMED]
    actions = [
        decision_pb2.Action(offer=one.name, family=one.family, price_minor=one.price_minor, journey="x")
        for one in offers
    ]
    accepts = np.array(
        [[likes.p_accept(member, action, "app", EVENING) for action in actions] for member in range(people.size)]
    )
    context = np.column_stack(
        [
            people.is_prepaid,
            people.has_app,
            people.has_wallet,
            people.has_content,
            people.devices[people.household],
            np.log(people.activity),
        ]
    ).astype(np.float64)
    draw = np.random.default_rng(seed)
    scaled = (context - context.mean(axis=0)) / context.std(axis=0)
    prior = np.array([one.prior_acceptance for one in offers])
    crude = prior + 0.1 * scaled @ draw.normal(size=(context.shape[1], OFFERS))
    better = np.log(accepts.mean(axis=0)) + 0.5 * scaled @ draw.normal(size=(context.shape[1], OFFERS))
    logged = np.full(accepts.shape, EXPLORATION / OFFERS)
    logged[np.arange(len(logged)), crude.argmax(axis=1)] += 1 - EXPLORATION
    wanted = np.exp(better)
    known = np.column_stack([np.eye(len(Persona))[people.persona], context])
    score = known @ np.linalg.lstsq(known, accepts[:, TREATED_WITH], rcond=None)[0]
    return KnownTown(
        people=people,
        accepts=accepts,
        context=context,
        logged=logged,
        wanted=wanted / wanted.sum(axis=1, keepdims=True),
        score=score,
    )


def visitors(town: KnownTown, *, seed: int, households: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the members of some households drawn with replacement, and the index of the draw each belongs to."""
    drawn = np.random.default_rng([seed, 1]).integers(0, HOUSEHOLDS, households)
    counts = town.people.member_count[drawn].astype(np.intp)
    units = np.repeat(np.arange(households), counts)
    within = np.arange(len(units)) - np.repeat(np.cumsum(counts) - counts, counts)
    return town.people.first_member[drawn][units] + within, units


def lived(town: KnownTown, *, seed: int, households: int) -> tuple[LoggedDecisions, Policy]:
    """Return what was decided about some households' members, and what the wanted policy would do about them."""
    members, units = visitors(town, seed=seed, households=households)
    draw = np.random.default_rng([seed, 2])
    logged, rows = town.logged[members], np.arange(len(members))
    action = (draw.random((len(members), 1)) >= np.cumsum(logged, axis=1)).sum(axis=1).clip(0, OFFERS - 1)
    reward = (draw.random(len(members)) < town.accepts[members, action]).astype(np.float64)
    names = tuple(f"offer-{one}" for one in range(OFFERS))
    decisions = LoggedDecisions(
        ids=pa.chunked_array([pa.array(rows).cast(pa.string())]),
        units=units,
        actions=names,
        action=action,
        propensity=logged[rows, action],
        reward=reward,
        context=town.context[members].astype(np.float32),
        context_names=tuple("abcdef"),
        logged=all_choices(logged),
        left_out={},
    )
    return decisions, Policy(name="wanted", choices=all_choices(town.wanted[members]), actions=names)


def all_choices(probabilities: Floats) -> Choices:
    """Return (n, actions) probabilities, an entry for each."""
    count, actions = probabilities.shape
    return Choices(
        decision=np.repeat(np.arange(count), actions),
        action=np.tile(np.arange(actions), count),
        probability=probabilities.ravel(),
    )


def misremembered(decisions: LoggedDecisions) -> LoggedDecisions:
    """Return the decisions with propensities that are too even: half the way to all being alike."""
    return replace(decisions, propensity=(decisions.propensity + 1 / OFFERS) / 2, logged=None)


def treated_town(
    town: KnownTown, *, seed: int, households: int, share: float, has_effect: bool
) -> tuple[Trial, Floats]:
    """Return a trial of one offer on some members, each treated by chance, and each one's true uplift.

    Some buy of their own accord. Whoever is offered it buys as well where they would accept it; without an effect it is
    as if nothing had been offered. The score is that of acceptance.
    """
    members, units = visitors(town, seed=seed, households=households)
    draw = np.random.default_rng([seed, 3])
    alone = 0.05 + 0.1 * town.people.has_app[members]
    accepts = town.accepts[:, TREATED_WITH]
    uplift = (1 - alone) * accepts[members] if has_effect else np.zeros(len(members))
    treated = draw.random(len(members)) < share
    bought = draw.random(len(members)) < alone + uplift * treated
    trial = Trial(
        is_treated=treated,
        outcome=bought.astype(np.float64),
        score=town.score[members],
        propensity=np.full(len(members), treated.mean()),
        is_propensity_known=False,
        units=units,
    )
    return trial, uplift
