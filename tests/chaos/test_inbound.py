"""J2, one answer on every channel, seen from outside: five channels at once, with declines and accepts in between.

Law: nothing that a household was told, or said, before a call began is contradicted by its answer. Here the judge is
tried; calls, with the shard killed meanwhile, and planted contradictions: `python -m tests.chaos.inbound`.
"""

from dataclasses import replace

from tests.chaos.history import Call, History, Kind, Result
from tests.chaos.inbound import Contradiction, contradictions

SAID_ON = {"topup": frozenset({"app", "web"}), "films": frozenset({"app"})}


def _answer(number: int, began: int, *, channel: str = "app", offer: str = "topup", action: str = "a-0") -> Call:
    return Call(
        kind=Kind.DECIDE,
        began=began,
        ended=began + 1,
        result=Result.OK,
        household="home",
        channel=channel,
        request_id=f"q{number}",
        decision_id=f"d{number}",
        offered_action=action,
        offered_offer=offer,
        offered_family=f"family of {offer}",
        offered_status="live",
    )


def _report(began: int, outcome: str, *, action: str = "a-0", ended: int | None = None) -> Call:
    return Call(
        kind=Kind.REPORT,
        began=began,
        ended=began + 1 if ended is None else ended,
        result=Result.OK,
        household="home",
        action_id=action,
        outcome=outcome,
        effective=True,
    )


def found(*calls: Call) -> list[Contradiction]:
    return [one.kind for one in contradictions(History(calls=list(calls)), SAID_ON)]


def test_what_was_answered_is_answered_again():
    assert found(_answer(1, 1), _answer(2, 3, channel="web")) == []
    assert found(_answer(1, 1), _answer(2, 3, channel="web", offer="films", action="b")) == [
        Contradiction.ANOTHER_ACTION
    ]
    assert found(_answer(1, 1, offer="films"), _answer(2, 3, channel="web", action="b")) == []  # no words for it there
    assert found(_answer(1, 1), replace(_answer(2, 1, action="b"), request_id="q2")) == []  # at the same time


def test_what_was_declined_or_accepted_is_offered_no_more():
    again = _answer(2, 6)
    assert found(_answer(1, 1), _report(3, "decline"), again) == [Contradiction.DECLINED_OFFER]
    other = replace(again, offered_offer="films", offered_action="b", offered_family="family of topup")
    assert found(_answer(1, 1), _report(3, "decline"), other) == [Contradiction.DECLINED_FAMILY]
    assert found(_answer(1, 1), _report(3, "accept"), again) == [Contradiction.ACCEPTED]
    assert found(_answer(1, 1), _report(3, "decline", ended=7), again) == []  # not acknowledged yet


def test_one_request_has_one_answer():
    assert found(_answer(1, 1), replace(_answer(1, 3), decision_id="another")) == [Contradiction.TWO_ANSWERS]
