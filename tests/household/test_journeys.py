"""Journeys with states: entering, waiting, acting, branching, ending.

Laws: a trigger lets in when it becomes true, as often as declared; a wait is ended by an event about the instance from
its beginning on, or by time, which wins at the very instant; goals and exits come before steps and take back what was
not handed over; an act is said once under its key; what is learned late changes what it would have changed, and never
what was handed over; batches do not show.
"""

from pathlib import Path

import pytest

from household.apply import apply_signals
from household.digest import state_digest
from household.migration import migrated
from household.plan import Plan
from playbooks.compiler import compile_playbook
from tests.household.graph_reference import Said
from tests.household.graph_worlds import batch_of_told
from tests.household.journey_world import Story, plan_of, playbook_text
from tests.household.shop import APP, DAY, HOUR, MINUTE, NOON_US, S

INVITE = """
trigger: {on: wallet.topup, when: household.topups >= 2}
again: 30d
goal: {when: household.payments >= 3}
exits: {visited: {on: app.visit}}
states:
  invite: {act: invite, within: 1h, blocked: exit, failed: lost, then: first}
  first:
    wait: {on: wallet.payment}
    then: paid
    timeout: {after: 7d, then: remind}
  remind: {act: remind, within: 1h, hold: 12h, blocked: skip, then: second}
  second:
    wait: [{on: wallet.payment, then: paid}, {on: hearth.decline, then: lost}]
    timeout: {after: 2d, at: "18:00", then: end}
  paid: end
  lost: end
"""


@pytest.fixture(scope="module")
def invite(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return plan_of(tmp_path_factory.mktemp("invite"), INVITE)


def entered(plan: Plan, *, consents: bool = True) -> Story:
    """Return a story in which anna has just entered."""
    story = Story(plan)
    if consents:
        story.happens("app.consent")
    story.happens("wallet.topup", after_us=HOUR)
    story.happens("wallet.topup", after_us=HOUR)
    return story


def invited(plan: Plan) -> Story:
    story = entered(plan)
    assert story.says() == ["invite"]
    assert story.where == ["first"]
    return story


# --- entering --------------------------------------------------------------------------------------------------------


def test_an_instance_enters_when_the_trigger_becomes_true_and_not_while_it_stays_so(invite: Plan):
    story = Story(invite)
    story.happens("wallet.topup")
    assert story.where == []
    story.happens("wallet.topup", after_us=HOUR)
    assert story.where == ["invite"]
    story.happens("wallet.topup", after_us=MINUTE)
    assert story.where == ["invite"]


def test_after_an_exit_it_enters_again_only_once_the_time_is_over_and_the_trigger_has_been_false(invite: Plan):
    story = entered(invite)
    story.happens("app.visit")
    assert story.where == ["invite:EXIT_RULE"]
    story.happens("wallet.topup", after_us=8 * DAY)
    story.happens("wallet.topup", after_us=DAY)
    assert story.where == ["invite:EXIT_RULE"]  # nine days after, of thirty
    story.happens("wallet.topup", after_us=20 * DAY)
    story.happens("wallet.topup", after_us=2 * DAY)
    assert story.where == ["invite:EXIT_RULE", "invite"]


# --- acting ----------------------------------------------------------------------------------------------------------


def test_an_act_is_decided_like_a_moment_and_goes_on_when_it_is_handed_over(invite: Plan):
    story = entered(invite)
    decision = story.decide_all()
    assert decision is not None
    assert [one.offer for one in decision.slate] == ["invite"]
    assert story.where == ["invite"]
    assert story.send_all() == ["invite"]
    assert story.where == ["first"]
    assert story.decide_all() is None


def test_without_consent_it_is_blocked_and_leaves_as_declared(invite: Plan):
    story = entered(invite, consents=False)
    assert story.says() == []
    assert story.where == ["invite:CONSENT"]


def test_what_quiet_hours_keep_back_is_blocked_where_it_may_not_be_held(invite: Plan):
    story = Story(invite, now_us=NOON_US + 6 * HOUR)
    story.happens("app.consent")
    story.happens("wallet.topup")
    story.happens("wallet.topup", after_us=2 * HOUR)  # 22:00 in Berlin
    assert story.says() == []
    assert story.where == ["invite:POLICY"]


@pytest.mark.parametrize(("hold", "sent", "where"), [("20h", ["remind"], "second"), ("16h", [], "second")])
def test_what_quiet_hours_keep_back_is_held_as_long_as_declared(tmp_path: Path, hold: str, sent: list[str], where: str):
    story = invited(plan_of(tmp_path, INVITE.replace("hold: 12h", f"hold: {hold}")))
    story.pass_time(7 * DAY + 8 * HOUR)  # the wait was over at 16:00 in Berlin, and it is midnight
    assert story.says() == []
    assert story.where == (["remind"] if sent else [where])  # until nine is too long: skipped at once
    story.pass_time(9 * HOUR)
    assert (story.send_all(), story.where) == (sent, [where])


def test_what_was_held_and_could_not_go_out_is_blocked(tmp_path: Path):
    story = invited(plan_of(tmp_path, INVITE.replace("hold: 12h", "hold: 20h")))
    story.pass_time(7 * DAY + 8 * HOUR)
    story.decide_all()
    story.pass_time(13 * HOUR)
    assert (story.send_all(), story.where) == ([], ["second"])


def test_a_permanent_failure_leads_where_it_is_declared(invite: Plan):
    story = entered(invite)
    decision = story.decide_all()
    assert decision is not None
    story.send_all()
    story.report("undelivered", decision.slate[0].action_id, channel="push")
    assert story.where == ["lost:COMPLETED"]


def test_a_permanent_failure_that_is_declared_nowhere_is_an_error(tmp_path: Path):
    story = entered(plan_of(tmp_path, INVITE.replace("failed: lost, ", "")))
    decision = story.decide_all()
    assert decision is not None
    story.send_all()
    story.report("undelivered", decision.slate[0].action_id, channel="push")
    assert story.where == ["first:ERROR"]


def test_an_act_that_nobody_decided_in_time_is_stale(invite: Plan):
    story = entered(invite)
    story.pass_time(HOUR)
    assert story.where == ["invite:STALE"]
    assert story.decide_all() is None


def test_what_nobody_fetches_in_time_is_a_failure(invite: Plan):
    story = entered(invite)
    story.decide_all()
    story.pass_time(HOUR)
    assert story.where == ["lost:COMPLETED"]
    assert story.send_all() == []


def test_the_control_group_walks_the_same_states_and_is_never_treated(tmp_path: Path):
    story = entered(plan_of(tmp_path, INVITE, control="100%"))
    decision = story.decide_all()
    assert decision is not None
    assert decision.withheld
    assert [(one.offer, one.channel) for one in decision.ghosts] == [("invite", "push")]
    assert (story.send_all(), story.where) == ([], ["first"])
    story.pass_time(7 * DAY)
    story.says()
    assert story.where == ["second"]
    assert len(story.state.outbox) == len(story.state.contacts) == 0


def test_an_instance_acts_no_more_often_than_its_budget(tmp_path: Path):
    story = invited(plan_of(tmp_path, "budget: 1\n" + INVITE))
    story.pass_time(7 * DAY)
    assert (story.says(), story.where) == ([], ["second"])


# --- waiting ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("before_us", "where"), [(1, "paid:COMPLETED"), (0, "remind"), (-1, "remind")])
def test_an_event_ends_a_wait_until_its_time_is_over_and_at_the_very_instant_time_wins(
    invite: Plan, before_us: int, where: str
):
    story = invited(invite)
    due_us = story.instances[0].due_us
    story.now_us = due_us - before_us
    story.happens("wallet.payment")
    assert story.where == [where]


def test_an_event_before_the_wait_does_not_end_it(invite: Plan):
    story = invited(invite)
    since_us = story.instances[0].since_us
    story.now_us += MINUTE
    story.happens("wallet.payment", ago_us=story.now_us - since_us + 1)
    assert story.where == ["first"]
    story.happens("wallet.payment", ago_us=story.now_us - since_us)
    assert story.where == ["paid:COMPLETED"]


def test_a_timer_with_a_local_time_is_due_at_the_first_one_after_its_days(invite: Plan):
    story = invited(invite)
    story.pass_time(7 * DAY)
    assert story.says() == ["remind"]
    # It is 16:00 in Berlin: two days later the next 18:00 is two hours on.
    story.pass_time(2 * DAY + 2 * HOUR - 1)
    assert story.where == ["second"]
    story.pass_time(1)
    assert story.where == ["second:TIMEOUT"]


def test_a_report_ends_a_wait_only_if_it_is_about_what_this_instance_said(invite: Plan):
    story = invited(invite)
    story.pass_time(7 * DAY)
    decision = story.decide_all()
    assert decision is not None
    story.send_all()
    story.report("decline", "somebody-elses-action")
    assert story.where == ["second"]
    story.report("decline", decision.slate[0].action_id, channel="push")
    assert story.where == ["lost:COMPLETED"]


# --- ending ----------------------------------------------------------------------------------------------------------


def test_the_goal_ends_a_wait_before_any_step_and_takes_back_what_was_not_handed_over(invite: Plan):
    story = entered(invite)
    for _ in range(2):
        story.happens("wallet.payment")
    story.decide_all()
    assert len(story.state.outbox) == 1
    story.happens("wallet.payment")
    assert story.where == ["invite:GOAL"]
    assert (len(story.state.outbox), story.send_all()) == (0, [])


def test_a_goal_before_the_decision_leaves_nothing_to_decide(invite: Plan):
    story = entered(invite)
    story.happens("app.visit")
    assert (story.decide_all(), story.where) == (None, ["invite:EXIT_RULE"])


def test_what_was_shown_and_not_handed_over_is_taken_back_at_the_goal(tmp_path: Path):
    journey = """
    trigger: {on: wallet.topup}
    goal: {on: wallet.payment}
    states:
      show: {act: shown, within: 1h, blocked: skip, then: look}
      look: {pause: {after: 2d}, then: end}
    """
    story = Story(plan_of(tmp_path, journey, without="outbound"))
    story.happens("app.consent")
    story.happens("wallet.topup")
    shown = story.decide(APP)
    assert story.offered(shown) == "shown"
    assert story.where == ["look"]
    story.happens("wallet.payment", after_us=HOUR)
    assert story.where == ["look:GOAL"]
    assert story.action(shown).status == "withdrawn"
    assert story.offered(story.decide(APP)) == ""


# --- what is learned late --------------------------------------------------------------------------------------------


def test_an_event_that_is_learned_late_changes_what_it_would_have_changed(invite: Plan):
    story = invited(invite)
    story.pass_time(7 * DAY + HOUR)
    assert story.where == ["remind"]
    story.decide_all()
    story.happens("wallet.payment", ago_us=HOUR + 1)  # just before the wait was over
    assert story.where == ["paid:COMPLETED"]
    assert story.send_all() == []  # what was not handed over is taken back


def test_what_was_handed_over_stays_so(invite: Plan):
    story = invited(invite)
    story.pass_time(7 * DAY)
    assert story.says() == ["remind"]
    story.pass_time(HOUR)
    story.happens("wallet.payment", ago_us=HOUR + 1)
    assert story.where == ["paid:COMPLETED"]
    assert [one.is_handed for one in story.state.contacts] == [True]  # the first is older than any cap


def test_an_entry_that_is_learned_late_has_heard_what_came_after_it(tmp_path: Path):
    journey = """
    trigger: {on: wallet.topup}
    goal: {on: app.visit}
    states:
      first: {wait: {on: wallet.payment}, then: done, timeout: {after: 7d, then: end}}
      done: end
    """
    story = Story(plan_of(tmp_path, journey))
    story.happens("wallet.payment")
    story.happens("wallet.topup", ago_us=HOUR)
    assert story.where == ["done:COMPLETED"]


# --- correlation -----------------------------------------------------------------------------------------------------

LOANS = """
trigger: {on: loan.asked}
correlate: loan
parallel: 2
goal: {on: loan.paid, when: event.amount >= 100.0}
states:
  open: {wait: {on: loan.paid}, then: some, timeout: {after: 30d, then: end}}
  some: {wait: {on: loan.paid}, then: more, timeout: {after: 30d, then: end}}
  more: end
"""


def test_a_loan_of_number_zero_is_a_loan(tmp_path: Path):
    story = Story(plan_of(tmp_path, LOANS))
    story.happens("loan.asked", loan=0)
    story.happens("loan.paid", loan=1, amount=5)
    assert story.where == ["open"]
    story.happens("loan.paid", loan=0, amount=5)
    assert story.where == ["some"]


def test_events_are_matched_to_the_instance_and_not_just_to_the_person(tmp_path: Path):
    story = Story(plan_of(tmp_path, LOANS))
    for loan in (1, 2, 3):
        story.happens("loan.asked", loan=loan)
    assert story.where == ["open", "open"]  # two at a time
    story.happens("loan.paid", loan=2, amount=5)
    assert story.where == ["open", "some"]
    story.happens("loan.paid", loan=1, amount=100)
    assert story.where == ["open:GOAL", "some"]
    story.happens("loan.asked", loan=2)
    assert len(story.where) == 2  # she is inside with that one
    story.happens("loan.asked", loan=3)
    assert story.where == ["open:GOAL", "some", "open"]
    story.happens("loan.paid", loan=2, amount=5)
    assert story.where == ["open:GOAL", "more:COMPLETED", "open"]


# --- branches and slots ----------------------------------------------------------------------------------------------

TWO_CHANCES = """
trigger: {on: app.visit}
again: once
goal: {on: wallet.payment}
states:
  touch: {slot: {from: 7d, to: 14d}, act: remind, within: 10d, hold: 10d, blocked: skip, missed: risk, then: kind}
  kind:
    branch: [{when: household.topups >= 1, then: known}]
    else: unknown
  risk: end
  known: end
  unknown: end
"""


@pytest.mark.parametrize(
    ("passed_us", "sent"),
    [(7 * DAY - MINUTE, []), (7 * DAY, ["remind"]), (14 * DAY, ["remind"]), (14 * DAY + 1, [])],
)
def test_a_slot_is_open_from_its_first_instant_to_its_last(tmp_path: Path, passed_us: int, sent: list[str]):
    story = Story(plan_of(tmp_path, TWO_CHANCES))
    story.happens("app.consent")
    story.happens("app.visit")
    story.pass_time(passed_us)
    assert story.says() == sent


def test_who_enters_once_never_enters_again(tmp_path: Path):
    story = Story(plan_of(tmp_path, TWO_CHANCES))
    story.happens("app.visit")
    story.pass_time(400 * DAY)
    story.happens("app.visit")
    assert story.where == ["unknown:COMPLETED"]


@pytest.mark.parametrize(("after", "passed_us"), [("1s", S), ("1825d", 1_825 * DAY)])
def test_waits_last_from_a_second_to_five_years_and_not_a_microsecond_longer(
    tmp_path: Path, after: str, passed_us: int
):
    story = Story(plan_of(tmp_path, LONG.replace("{merged}", "exit").replace("after: 30d", f"after: {after}")))
    story.happens("wallet.topup")
    story.pass_time(passed_us - 1)
    assert story.where == ["first"]
    story.pass_time(1)
    assert story.where == ["first:TIMEOUT"]


# --- households that become one --------------------------------------------------------------------------------------

LONG = """
trigger: {on: wallet.topup}
goal: {on: app.visit}
merged: {merged}
states:
  first: {wait: {on: wallet.payment}, then: done, timeout: {after: 30d, then: end}}
  done: end
"""


@pytest.mark.parametrize(
    ("merged", "where"),
    [
        ("keep_both", ["done:COMPLETED", "done:COMPLETED"]),
        ("keep_older", ["done:COMPLETED", "first:MERGED"]),
        ("exit", ["first:MERGED", "first:MERGED", "done:COMPLETED"]),
    ],
)
def test_of_households_that_become_one_instances_give_way_as_declared(tmp_path: Path, merged: str, where: list[str]):
    story = Story(plan_of(tmp_path, LONG.replace("{merged}", merged)))
    story.happens("wallet.topup", household="h1")
    story.happens("wallet.topup", household="h2", after_us=HOUR)
    merge = Said(b"m", "merge", story.now_us, household="h1", other="h2")
    apply_signals(story.state, batch_of_told(story.state.plan, [merge]), stamp_us=story.now_us)
    story.happens("wallet.topup", household="h2", after_us=MINUTE)  # while one is inside nobody enters
    if merged == "keep_both":
        assert story.where == ["first", "first"]
    story.happens("wallet.payment", household="h2", after_us=MINUTE)
    assert story.where == where


# --- as a fold -------------------------------------------------------------------------------------------------------


def test_batches_and_restarts_do_not_show(invite: Plan):
    one, other = Story(invite), Story(invite)
    names = ["app.consent", *["wallet.topup"] * 2, *["wallet.payment"] * 3, "app.visit"]
    events = [one.event(name, ago_us=(len(names) - place) * S) for place, name in enumerate(names)]
    one.fold(*events)
    for event in events:
        other.fold(event)
    assert one.where == other.where == ["invite:GOAL"]
    assert state_digest(one.state) == state_digest(other.state)


def test_another_playbook_ends_who_is_where_it_has_nothing(invite: Plan, tmp_path: Path):
    story = invited(invite)
    story.state = migrated(story.state, plan_of(tmp_path, INVITE.replace("7d, then", "9d, then")))
    assert story.where == ["first"]
    story.pass_time(7 * DAY)
    assert story.where == ["remind"]  # a timer keeps its time
    gone = INVITE.replace("  remind:", "  nudge:").replace("then: remind", "then: nudge")
    story.state = migrated(story.state, plan_of(tmp_path, gone))
    assert story.where == ["remind:VERSION"]
    assert story.decide_all() is None


def test_what_was_done_under_another_playbook_stays_done_whatever_is_learned_late(invite: Plan, tmp_path: Path):
    story = invited(invite)
    story.pass_time(7 * DAY)
    assert story.where == ["remind"]
    story.state = migrated(story.state, plan_of(tmp_path, INVITE.replace("7d, then", "9d, then")))
    story.fold(story.event("wallet.payment", ago_us=HOUR))  # by the new playbook it would still be waited for
    assert story.where == ["remind"]


def test_a_state_that_does_something_else_under_another_playbook_is_another(invite: Plan, tmp_path: Path):
    story = invited(invite)
    other = INVITE.replace("  remind: {act: remind, within: 1h, hold: 12h, blocked: skip, then: second}\n", "")
    story.state = migrated(
        story.state, plan_of(tmp_path, other.replace("then: remind", "then: second").replace("first", "second_"))
    )
    assert story.where == ["first:VERSION"]
    acting = invited(invite)
    first = """  first:
    wait: {on: wallet.payment}
    then: paid
    timeout: {after: 7d, then: remind}
"""
    assert first in INVITE
    says = "  first: {act: remind, within: 1h, blocked: skip, then: remind}\n"
    acting.state = migrated(acting.state, plan_of(tmp_path, INVITE.replace(first, says)))
    assert acting.where == ["first:VERSION"]


def test_who_may_enter_once_does_not_enter_again_because_another_playbook_ended_it(tmp_path: Path):
    once = INVITE.replace("again: 30d", "again: once")
    story = entered(plan_of(tmp_path, once))
    assert story.says() == ["invite"]
    gone = once.replace("  first:", "  begun:").replace("then: first", "then: begun")
    story.state = migrated(story.state, plan_of(tmp_path, gone))
    assert story.where == ["first:VERSION"]
    story.pass_time(20 * DAY)
    story.happens("wallet.topup")
    story.happens("wallet.topup", after_us=HOUR)
    assert story.where == ["first:VERSION"]


def test_what_one_household_heard_before_it_became_one_with_another_ends_no_wait_there(tmp_path: Path):
    story = Story(plan_of(tmp_path, LONG.replace("{merged}", "keep_both")))
    story.happens("wallet.topup", household="h1")
    story.happens("wallet.topup", household="h2", after_us=HOUR)
    story.happens("wallet.payment", household="h1", after_us=MINUTE)
    merge = Said(b"m", "merge", story.now_us, household="h1", other="h2")
    apply_signals(story.state, batch_of_told(story.state.plan, [merge]), stamp_us=story.now_us)
    late = story.event("app.consent", household="h2", ago_us=30 * S)
    story.fold(late)
    story.fold(story.event("loan.asked", household="h2", ago_us=2 * MINUTE, loan=1))
    assert story.where == ["done:COMPLETED", "first"]


def test_households_that_become_one_give_way_at_once(tmp_path: Path):
    story = Story(plan_of(tmp_path, LONG.replace("{merged}", "keep_older")))
    story.happens("wallet.topup", household="h1")
    story.happens("wallet.topup", household="h2", after_us=HOUR)
    merge = Said(b"m", "merge", story.now_us, household="h1", other="h2")
    apply_signals(story.state, batch_of_told(story.state.plan, [merge]), stamp_us=story.now_us)
    assert story.where == ["first", "first:MERGED"]


KINDS = """
journeys:
  kinds:
    title: One for each kind of shop
    owner: wallet team
    contact_class: offer
    purpose: marketing
    budget: 9
    control: 0%
    outbound: [push]
    trigger: {on: wallet.payment}
    correlate: kind
    parallel: 2
    goal: {on: app.visit}
    states: {first: {pause: {after: 9d}, then: end}}
"""


def test_an_event_that_does_not_say_what_one_journey_asks_for_is_heard_by_another(tmp_path: Path):
    text = playbook_text(LONG.replace("{merged}", "exit")).replace("\njourneys:\n", KINDS, 1)
    (tmp_path / "playbook.yaml").write_text(text)
    story = Story(compile_playbook(tmp_path / "playbook.yaml"))
    story.happens("wallet.payment", kind="coffee")
    story.happens("wallet.topup", after_us=HOUR)
    story.happens("wallet.payment", after_us=HOUR)
    assert story.where == ["first", "done:COMPLETED"]
