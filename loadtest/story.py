"""Plays one story for one fresh household over the public protocol; tells each step, the answer, and why.

    python -m loadtest.story s1 --target HOST:PORT     low balance: the third balance check within seven days

The story takes seven days of event time from Hearth's present, so Hearth has to run on the stream clock.
"""

import argparse
import asyncio
import json
import sys
import time

from hearth.v1 import decision_pb2, signal_pb2
from household.money import major_text
from loadtest.gateway import Gateway, GaveUp
from loadtest.teller import (
    MEMBER,
    TITLE,
    TRIES,
    US_PER_DAY,
    Story,
    StoryStep,
    StoryWentWrong,
    Teller,
    as_text_time,
    explanation_values,
)
from loadtest.town import MONDAY_US

FAVOURITE, ANOTHER = "series_plus", "film_box"
EVENINGS = 6
BALANCE_CHECK = "app.balance_check"


async def low_balance(gateway: Gateway, household: str, start_us: int) -> Story | None:
    """Play S1 for one fresh household; None if the household turns out to be in the control group.

    Raises:
        StoryWentWrong: a signal was not applied.
    """
    teller = Teller(gateway, household, start_us)
    await _move_in(teller)
    for evening in range(EVENINGS):
        await teller.tell(f"streams {FAVOURITE} in the evening", _stream(teller, evening, FAVOURITE, 20))
        if evening == 3:
            await teller.tell(f"and half an hour of {ANOTHER}", _stream(teller, evening, ANOTHER, 22))
        if evening in (3, 4):
            ordinal = "first" if evening == 3 else "second"
            check = teller.signal(BALANCE_CHECK, teller.at(evening, 23))
            await teller.ask(f"{ordinal} balance check, by text menu", "ussd", "nothing", check)
    check = teller.signal(BALANCE_CHECK, teller.at(EVENINGS, 19, 30))
    offer = f"topup_{FAVOURITE}"
    third = await teller.ask("third balance check within seven days, in the app", "app", offer, check, offer=offer)
    explained = await gateway.explain(household, third.decision_id)
    teller.story.explanation = explanation_values(explained.decision)
    if "CONTROL_GROUP" in third.reasons or explained.decision.withheld:
        return None
    if third.HasField("action"):
        await _settle(teller, gateway, third.action)
    return teller.story


async def _move_in(teller: Teller) -> None:
    await teller.tell(
        "becomes a prepaid customer, has a wallet, allows marketing",
        teller.signal("billing.profile_updated", teller.at(0, 8), line_type="prepaid"),
        teller.signal("wallet.activated", teller.at(0, 8, 1)),
        teller.signal("app.consent_changed", teller.at(0, 8, 2), marketing=True),
        teller.signal("billing.product_activated", teller.at(0, 8, 3), member="", product="mobile"),
    )
    await teller.tell("tops up", teller.signal("billing.topup", teller.at(0, 9), amount_minor=1_500.0))
    await teller.tell(
        "pays for a coffee from the wallet",
        teller.signal("wallet.payment", teller.at(0, 12), amount_minor=320.0, merchant_category="coffee_shop"),
    )


def _stream(teller: Teller, evening: int, pack: str, hour: int) -> signal_pb2.Signal:
    minutes = 95.0 if pack == FAVOURITE else 30.0
    return teller.signal(
        "network.streaming_session", teller.at(evening, hour, 15), streaming_pack=pack, minutes=minutes, evening=True
    )


async def _settle(teller: Teller, gateway: Gateway, action: decision_pb2.Action) -> None:
    """The same on another channel, then yes in the app, then gone everywhere, then paid."""
    household = teller.story.household
    same = await teller.ask("asks again by text menu: the same action", "ussd", "the same action", offer=action.offer)
    if same.action.action_id != action.action_id:
        teller.note(
            StoryStep(
                time="",
                what="two channels, two actions",
                expected=action.action_id,
                answer=same.action.action_id,
                ok=False,
            )
        )
    accepted_us = teller.at(EVENINGS, 19, 31)
    report = decision_pb2.ReportRequest(
        request_id=f"{household}-accept",
        household=household,
        member=MEMBER,
        action_id=action.action_id,
        outcome=decision_pb2.OUTCOME_ACCEPT,
        channel="app",
    )
    report.time.FromMicroseconds(accepted_us)
    answer = await gateway.report(report)
    status = decision_pb2.ActionStatus.Name(answer.status)
    teller.note(
        StoryStep(
            time=as_text_time(accepted_us),
            what="accepts with one tap",
            channel="app",
            answer=f"the action is {status.removeprefix('ACTION_STATUS_').lower()}",
            expected="accepted",
            ok=answer.effective and answer.status == decision_pb2.ACTION_STATUS_ACCEPTED,
        )
    )
    paid = teller.signal("billing.topup", teller.at(EVENINGS, 19, 32), amount_minor=float(action.price_minor))
    await teller.tell(f"is topped up, paid from the wallet: {major_text(action.price_minor, action.currency)}", paid)
    again = teller.signal(BALANCE_CHECK, teller.at(EVENINGS, 19, 40))
    await teller.ask("looks once more, by text menu: nothing more to say", "ussd", "nothing", again)


async def present_us(gateway: Gateway, household: str) -> int:
    """Return the midnight at which the story can start: the next in Hearth's present, or that of a default day."""
    answer = await gateway.get(household)
    as_of_us = answer.as_of.ToMicroseconds() if answer.HasField("as_of") else 0
    days = -(-(max(as_of_us, MONDAY_US) - MONDAY_US) // US_PER_DAY)
    return MONDAY_US + days * US_PER_DAY


async def play(target: str, run: str) -> Story:
    """Play S1 for fresh households until one is not in the control group.

    Raises:
        GaveUp: Hearth did not answer.
        StoryWentWrong: a signal was not applied, or only control households were found.
    """
    gateway = Gateway(target)
    try:
        await gateway.ready(within_s=30)
        for number in range(TRIES):
            household = f"S1-{run}-{number}"
            story = await low_balance(gateway, household, await present_us(gateway, household))
            if story is not None:
                if number:
                    what = f"{number} other fresh households were in the control group and got nothing, as they should"
                    story.steps.insert(0, StoryStep(time=story.steps[0].time, what=what))
                return story
        raise StoryWentWrong(f"{TRIES} fresh households, all in the control group: is the control share 100 %?")
    finally:
        await gateway.close()


def main() -> int:
    """Tell the story: exit 0 if it went as it should, 1 if not."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("story", choices=["s1"])
    arguments.add_argument("--target", required=True, help="host:port of a running Hearth")
    arguments.add_argument("--run", default=f"{time.time_ns():x}", help="makes the household's name unique")
    arguments.add_argument("--json", action="store_true")
    given = arguments.parse_args()
    try:
        story = asyncio.run(play(given.target, given.run))
    except (GaveUp, StoryWentWrong) as wrong:
        print(wrong, file=sys.stderr)
        return 1
    if given.json:
        print(json.dumps(story.as_dict(), ensure_ascii=False))
    else:
        print("\n".join([f"{TITLE} (household {story.household})", *story.lines()]))
    return 0 if story.ok else 1


if __name__ == "__main__":
    sys.exit(main())
