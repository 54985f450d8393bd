"""What control groups withhold of a decision, and the exposure that would have been: ghosts."""

from collections.abc import Collection

from household.deciding.draft import Draft
from household.deciding.sending import Sending
from household.deciding.slate import answer, brought_up_by
from household.decision import Ghost, SlateAction
from household.experiments.control import Controls
from household.plan import Draw
from household.state import PartitionState
from household.tables.arms import Assignment


def withheld_offers(
    state: PartitionState, draft: Draft, worth: Collection[int], slate: tuple[SlateAction, ...], controls: Controls
) -> frozenset[int]:
    """Return the candidates that are not said to this household, since it is in control of what they meet.

    Args:
        state: read only.
        draft: of the decision.
        worth: candidates (offers) worth saying.
        slate: what a household in no control group would get.
        controls: of this household.
    """
    coverage = state.coverage
    if not slate or not coverage.experiments:
        return frozenset()
    columns, said, withheld = draft.columns, frozenset(worth), set[int]()
    if coverage.has_journeys_own:
        # A journey's own share withholds the decision as a whole: its moments are settled with the others.
        for own in coverage.of_journeys(brought_up_by(state.plan, columns, slate)):
            if own in controls:
                withheld |= columns.may_be_withheld
    for about, offers in columns.met_alike:
        if not offers.isdisjoint(said):
            for one in about:
                if one.draw is not Draw.OF_JOURNEY and one in controls:
                    withheld |= offers
    return said & withheld


def met_arms(
    state: PartitionState, draft: Draft, controls: Controls, *slates: tuple[SlateAction, ...]
) -> tuple[Assignment, ...]:
    """Return the arms of all experiments that what is on these slates meets, as the playbook lists them."""
    coverage = state.coverage
    if not coverage.experiments or not any(slates):
        return ()
    offer_by_name, by_offer, own = state.plan.offer_by_name, draft.columns.met, controls.arms[0]
    met = {one.name for slate in slates for action in slate for one in by_offer[offer_by_name[action.offer]]}
    return tuple([own.assignment(one, met_us=draft.now_us) for one in coverage.experiments if one.name in met])


def ghosts_of(
    state: PartitionState,
    draft: Draft,
    slate: tuple[SlateAction, ...],
    out: Sending,
    withheld: Collection[int],
    controls: Controls,
) -> tuple[Ghost, ...]:
    """Return where a household in no control group would have been exposed to something that is withheld here.

    Args:
        state: read only.
        draft: of the decision.
        slate: what such a household would get.
        out: how the first of it would go out unasked.
        withheld: offers that are not said.
        controls: of this household.
    """
    plan = state.plan
    answered = answer(state, draft, slate, withheld=False)
    channel, time_us = draft.ask.channel, draft.now_us
    shown = next((one for one in slate if one.action_id == answered), None)
    if shown is None:
        if not out.channels:
            return ()
        shown, channel, time_us = slate[0], out.channels[0], max(out.not_before_us, draft.now_us)
    offer = plan.offer_by_name[shown.offer]
    if offer not in withheld:
        return ()
    about = draft.columns.met[offer]
    return (
        Ghost(
            offer=shown.offer,
            journey=shown.journey,
            channel=plan.channels[channel].name,
            time_us=time_us,
            experiments=tuple(one.name for one in about if one in controls),
        ),
    )
