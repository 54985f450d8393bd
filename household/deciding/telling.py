"""Which reasons a decision tells, the most telling first."""

from collections.abc import Mapping

from household.deciding.draft import Draft
from household.deciding.reasons import Reason, withdrawn_for
from household.deciding.sending import Sending
from household.deciding.weighed import Weighed
from household.decision import SlateAction
from household.plan import NONE
from household.state import NO_HOUSEHOLD


def reasons_of(
    draft: Draft,
    candidates: Weighed,
    slate: tuple[SlateAction, ...],
    answered: str,
    out: Sending,
    *,
    withheld: bool,
    unaffordable: Mapping[str, tuple[str, ...]],
) -> tuple[str, ...]:
    """Return what a decision tells.

    Args:
        draft: of the decision.
        candidates: as they were weighed.
        slate: that is new.
        answered: id of the action that the asking channel was given.
        out: how the first is sent.
        withheld: nobody was given anything.
        unaffordable: actions of the standing slate, by id, and the budgets of which too little is left for them.
    """
    if draft.household == NO_HOUSEHOLD:
        return draft.reasons
    withdrawn = tuple([withdrawn_for(one.reason) for one in draft.withdrawals])
    if candidates.is_gross:
        withdrawn = (*withdrawn, Reason.GROSS)
    if withheld:
        return tuple(dict.fromkeys((Reason.CONTROL_GROUP, *draft.reasons, *withdrawn)))
    is_silent = draft.ask.channel != NONE and not answered
    no_answer = _why_no_answer(draft, slate, unaffordable) if is_silent else ()
    if slate:
        return tuple(dict.fromkeys((*no_answer, Reason.BEST_VALUE, *out.reasons, *draft.reasons, *withdrawn)))
    found_none: tuple[str, ...]
    if not draft.journey_by_offer:
        found_none = () if draft.standing is not None and not draft.moments else (Reason.NO_CANDIDATES,)
    else:
        found_none = (Reason.NOTHING_BETTER,)
        if all(one.vetoes for one in candidates):
            found_none = (Reason.ALL_VETOED, *_most_common(candidates.veto_counts()))
    stands = (Reason.SLATE_STANDS, *no_answer) if draft.standing is not None else ()
    return tuple(dict.fromkeys((*stands, *found_none, *no_answer, *draft.reasons, *withdrawn)))


def _why_no_answer(
    draft: Draft, slate: tuple[SlateAction, ...], unaffordable: Mapping[str, tuple[str, ...]]
) -> tuple[str, ...]:
    if not draft.has_consent:
        return (Reason.NO_CONSENT,)
    against = (*draft.not_to_answer.values(), *unaffordable.values())
    if not slate and against:
        return tuple(dict.fromkeys(reason for reasons in against for reason in reasons))
    return (Reason.CHANNEL_CANNOT_CARRY,) if slate or draft.standing is not None else ()


def _most_common(counts: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(sorted(counts, key=counts.__getitem__, reverse=True))
