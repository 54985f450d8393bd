"""Which reasons a decision tells, the most telling first."""

from collections import Counter

from household.deciding.draft import Draft
from household.deciding.reasons import Reason, withdrawn_for
from household.deciding.sending import Sending
from household.decision import SlateAction
from household.plan import NONE
from household.state import NO_HOUSEHOLD


def reasons_of(
    draft: Draft, slate: tuple[SlateAction, ...], answered: str, out: Sending, *, withheld: bool
) -> tuple[str, ...]:
    """Return what a decision tells, given its slate, what it answered and how it is sent."""
    if draft.household == NO_HOUSEHOLD:
        return draft.reasons
    withdrawn = tuple(withdrawn_for(one.reason) for one in draft.withdrawals)
    if withheld:
        return tuple(dict.fromkeys((Reason.CONTROL_GROUP, *draft.reasons, *withdrawn)))
    no_answer = _why_no_answer(draft, slate) if draft.ask.channel != NONE and not answered else ()
    if slate:
        return tuple(dict.fromkeys((*no_answer, Reason.BEST_VALUE, *out.reasons, *draft.reasons, *withdrawn)))
    found_none: tuple[str, ...]
    if not draft.journey_by_offer:
        found_none = () if draft.standing is not None and not draft.moments else (Reason.NO_CANDIDATES,)
    else:
        found_none = (Reason.NOTHING_BETTER,) if draft.to_score else (Reason.ALL_VETOED, *_vetoes_told(draft))
    stands = (Reason.SLATE_STANDS, *no_answer) if draft.standing is not None else ()
    return tuple(dict.fromkeys((*stands, *found_none, *no_answer, *draft.reasons, *withdrawn)))


def _why_no_answer(draft: Draft, slate: tuple[SlateAction, ...]) -> tuple[str, ...]:
    if not draft.has_consent:
        return (Reason.NO_CONSENT,)
    if not slate and draft.not_to_answer:
        return tuple(dict.fromkeys(reason for reasons in draft.not_to_answer.values() for reason in reasons))
    return (Reason.CHANNEL_CANNOT_CARRY,) if slate or draft.standing is not None else ()


def _vetoes_told(draft: Draft) -> tuple[str, ...]:
    """Return what spoke against the candidates, what spoke against most of them first."""
    counts = Counter(veto for vetoes in draft.vetoes.values() for veto in vetoes)
    return tuple(veto for veto, _ in counts.most_common())
