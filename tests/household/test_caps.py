"""Contact caps hold however it comes, against a plain count of what a gateway was handed.

Law: at each hand-over, of all that was handed over within a cap's window and not said to have reached nobody there are
fewer than the cap allows, and nothing waits for a cap that has room; whatever happens in between: acknowledgements,
late, false, twice or never, expiry, a newer moment, an outcome, a restart, another playbook.
"""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from household.apply import apply_delivery, apply_epoch
from household.deciding.hand_over import next_step
from household.migration import migrated
from household.plan import NONE, Scope
from tests.household.shop import APP, DAY, EAGER, HOUR, MINUTE, Shop
from tests.household.side import actions_of, outbox_of

LISTENED = ("push", "sms")

STRICT = replace(
    EAGER,
    policy=replace(
        EAGER.policy,
        caps=(replace(EAGER.policy.caps[0], window_us=3 * DAY), replace(EAGER.policy.caps[1], most=2)),
    ),
)
"""The same with narrower caps: in force, it counts what was handed over under the other."""


class Gateway:
    """What was handed over, and what was said of it."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.contacts: dict[tuple[str, int], tuple[int, int, bool]] = {}
        """(action id, channel) → (when, member, whether it counts)."""

    def has_room(self, member: int, channel: int) -> bool:
        """Count, by hand, what stands against one more contact."""
        plan, now_us = self.shop.state.plan, self.shop.now_us
        for cap in plan.policy.caps:
            counted = [
                one
                for (_, on), (at_us, whose, counts) in self.contacts.items()
                if counts
                and on in cap.channels
                and at_us > now_us - cap.window_us
                and (cap.scope is Scope.HOUSEHOLD or whose == member)
                for one in [at_us]
            ]
            if channel in cap.channels and len(counted) >= cap.most:
                return False
        return True

    def look(self) -> None:
        """Hand over what may go, one after another, as an owner does."""
        state = self.shop.state
        for action_id, outbound in list(outbox_of(state).items()):
            note = next_step(state, action_id, LISTENED)
            if outbound.handed_us:
                continue
            ways = (outbound.channel, *outbound.fallbacks) if outbound.is_fallback else (outbound.channel,)
            is_open = [way for way in ways if self.has_room(outbound.member, way)]
            if note is None:
                assert not is_open, f"{action_id} waits for nothing"
                continue
            channel = state.plan.channel_by_name[note.channel]
            assert channel in is_open[:1], "a contact more than the cap allows"
            assert apply_delivery(state, [note], epoch=self.shop.epoch, stamp_us=self.shop.now_us)
            assert state.outbox[action_id].handed_us == self.shop.now_us
            self.contacts[action_id, channel] = (self.shop.now_us, outbound.member, True)

    def say(self, which: int, what: str) -> None:
        """Report something about one of the contacts that were made."""
        if not self.contacts:
            return
        action_id, channel = list(self.contacts)[which % len(self.contacts)]
        at_us, member, counts = self.contacts[action_id, channel]
        is_known = action_id in self.shop.state.actions
        name = self.shop.state.plan.channels[channel].name
        self.shop.report(what, action_id, channel=name, member="")
        if what == "undelivered":
            counts = False
        elif is_known:
            counts = True
        last = self.shop.state.actions.get(action_id)
        is_last = last is not None and last.channel == channel
        if counts and not self.contacts[action_id, channel][2] and not is_last:
            at_us = self.shop.now_us  # its hand-over was forgotten for that on another channel
        self.contacts[action_id, channel] = (at_us, member, counts)


steps = st.one_of(
    *[st.tuples(st.just("moment"), st.sampled_from(["anna", "bert", "cleo"]))] * 3,
    st.tuples(st.just("visit"), st.sampled_from(["anna", "bert"])),
    st.tuples(st.just("look"), st.just("")),
    st.tuples(
        st.sampled_from(["delivered", "undelivered", "accept", "decline", "click", "convert"]), st.integers(0, 9)
    ),
    st.tuples(st.just("shown"), st.integers(0, 9)),
    st.tuples(st.just("wait"), st.sampled_from([MINUTE, 16 * MINUTE, HOUR, 20 * HOUR, DAY, 3 * DAY])),
    st.tuples(st.just("restart"), st.just("")),
    st.tuples(st.just("plan"), st.sampled_from([EAGER, STRICT])),
)


@settings(max_examples=150, deadline=None)
@given(schedule=st.lists(steps, min_size=10, max_size=40), is_looked=st.booleans())
def test_no_cap_is_ever_exceeded_and_none_holds_back_what_it_allows(schedule, is_looked):
    shop = Shop(EAGER)
    gateway = Gateway(shop)
    for member in ("anna", "bert", "cleo"):
        shop.signal("app.consent", member=member, is_on=1.0)
    for what, detail in schedule:
        match what:
            case "moment":
                shop.third_check(member=detail)
                decision = shop.weigh(shop.draft(NONE, member=detail))
                if decision.slate:
                    # Whatever stood against it when it was decided: it is the hand-over that must not break a cap.
                    until_us = decision.slate[0].valid_until_us
                    decision = replace(
                        decision, send_channel="push", fallback_channels=("sms",), send_before_us=until_us
                    )
                shop.record(decision)
                if is_looked:
                    gateway.look()
            case "visit":
                shop.decide(APP, member=detail, request_id=f"r{shop.offset}")
            case "look":
                gateway.look()
            case "shown":
                made = list(actions_of(shop.state))
                if made:
                    shop.report("accept", made[detail % len(made)], channel="app", member="")
            case "wait":
                shop.pass_time(detail)
            case "restart":
                shop.epoch += 1
                apply_epoch(shop.state, epoch=shop.epoch)
            case "plan":
                shop.state = migrated(shop.state, detail)
            case _:
                gateway.say(detail, what)
    gateway.look()
