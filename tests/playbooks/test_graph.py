"""The section `graph`: what it compiles to, what it makes of graph events, and what is said of one that cannot be."""

from pathlib import Path

import pytest

from household.graph.events import GraphKind
from household.graph.membership import Membership
from household.plan import GraphRules, LinkingRule
from household.tables.graph_events import GraphEvent
from playbooks.compiler import TELCO, check, compile_playbook

PLAYBOOK = """
playbook: {name: homes}
events: {visit: {source: app}}
graph:
  members_most: 3
  households_most: 2
  seen_within: 7d
  certain: 80%
  linking:
    shared_device: 60%
    same_account: 0.98
"""


def written(folder: Path, old: str = "", new: str = "") -> Path:
    assert old in PLAYBOOK
    path = folder / "homes.yaml"
    path.write_text(PLAYBOOK.replace(old, new), encoding="utf-8")
    return path


def test_the_section_becomes_the_rules_of_the_graph(tmp_path: Path):
    assert compile_playbook(written(tmp_path)).graph == GraphRules(
        members_most=3,
        households_most=2,
        seen_within_us=7 * 86_400_000_000,
        certain_ppm=800_000,
        linking=(
            LinkingRule(evidence="same_account", probability_ppm=980_000),
            LinkingRule(evidence="shared_device", probability_ppm=600_000),
        ),
    )


def test_without_the_section_and_without_rules_the_plan_is_what_it_was(tmp_path: Path):
    assert compile_playbook(TELCO).graph == GraphRules()
    assert b'"linking"' not in compile_playbook(TELCO).canonical_bytes
    usual = PLAYBOOK[PLAYBOOK.index("graph:") :]
    without = compile_playbook(written(tmp_path, usual, "")).version
    assert compile_playbook(written(tmp_path, usual, "graph: {members_most: 12}\n")).version == without
    assert compile_playbook(written(tmp_path, usual, "graph: {members_most: 11}\n")).version != without


@pytest.mark.parametrize(
    ("old", "new", "place", "told"),
    [
        ("members_most: 3", "members_most: 0", ":5:17", "'members_most' of the section 'graph' is '0'"),
        ("members_most: 3", "members_most: many", ":5:17", "write a whole number from 1 to 1000"),
        ("members_most: 3", "member_most: 3", ":5:3", "did you mean 'members_most'"),
        ("seen_within: 7d", "seen_within: 7", ":7:16", "write a number and a unit"),
        ("certain: 80%", "certain: 120%", ":8:12", "write a share between 0 and 1"),
        ("certain: 80%", "certain: 0%", ":8:12", "whatever anybody guesses makes members"),
        ("shared_device: 60%", "shared_device: often", ":10:20", "evidence 'shared_device' of 'linking' is 'often'"),
        ("shared_device: 60%", "Shared-Device: 60%", ":10:5", "'Shared-Device' is not a possible name"),
        ("shared_device: 60%", "shared_device: [a]", ":10:20", "write how probable it is"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, old: str, new: str, place: str, told: str):
    (problem,) = check(written(tmp_path, old, new))

    assert place in str(problem)
    assert told in str(problem)


# --- what the rules make of graph events ------------------------------------------------------------------------------


def event(number: int, kind: GraphKind, *, cause: str = "", evidence: str = "", **said: str) -> GraphEvent:
    told = {"identifier": "", "subjects": "", "household": "", "other": "", **said}
    return GraphEvent(
        key=b"%04d" % number,
        kind=kind,
        time_us=number,
        learned_us=number,
        cause=cause or f"c{number}",
        evidence=evidence,
        probability_ppm=1_000_000,
        **told,
    )


@pytest.fixture
def membership(tmp_path: Path) -> Membership:
    return Membership(compile_playbook(written(tmp_path)).graph)


def test_an_evidence_is_believed_no_more_than_its_rule_says(membership: Membership):
    membership.add(event(1, GraphKind.LINK, identifier="device:d", subjects="member:a", evidence="shared_device"))
    assert membership.timelines["device:d"].holder is None
    assert membership.timelines["device:d"].inferred == [(1, "member:a", 600_000)]

    membership.add(event(2, GraphKind.LINK, identifier="account:1", subjects="member:a", evidence="same_account"))
    membership.add(event(3, GraphKind.LINK, identifier="mail:x", subjects="member:a", evidence="crm"))
    assert [membership.timelines[name].holder for name in ("account:1", "mail:x")] == ["member:a", "member:a"]


@pytest.mark.parametrize("is_first", [False, True])
def test_a_join_or_merge_by_too_weak_an_evidence_waits_for_a_person(membership: Membership, is_first: bool):
    told = [
        event(1, GraphKind.JOIN, subjects="member:a", household="H", evidence="shared_device", cause="j"),
        event(2, GraphKind.MERGE, household="H", other="I", evidence="shared_device", cause="m"),
    ]
    confirmed = [event(3, GraphKind.CONFIRM, cause="j"), event(4, GraphKind.CONFIRM, cause="m")]
    if not is_first:
        for one in told:
            membership.add(one)
        assert membership.household_of("member:a") == "member:a"
        assert membership.standing("I") != membership.standing("H")
        assert [one.why for one in membership.quarantined.values()] == [
            "shared_device is right with 0.6; 0.8 is believed"
        ] * 2

    for one in (*confirmed, *told) if is_first else confirmed:
        membership.add(one)

    assert membership.standing("I") == membership.standing("H") == membership.household_of("member:a")
    assert not membership.quarantined


def test_a_weak_join_is_no_evidence_that_a_household_is_there(membership: Membership):
    membership.add(event(1, GraphKind.JOIN, subjects="member:a", household="H", evidence="shared_device"))
    assert set(membership.households) == {"member:a"}
