"""Laws: a CRM extract becomes graph events, and rows name identifiers, by a mapping; a bad row costs itself only."""

from pathlib import Path

import pytest

from tests.cluster.conftest import Run
from tests.cluster.fake_hearth import FakeHearth

LINKS = """
files:
  - match: "crm*"
    type: hearth.graph.link
    identifier: "msisdn:{number}"
    time: {column: since}
    fields:
      subject: {text: "member:{customer}"}
      evidence: {column: source}
"""
HOMES = """
files:
  - match: "crm*"
    type: hearth.graph.join
    household: "{home}"
    time: {column: since}
    fields: {subject: {text: "member:{customer}"}}
"""
CRM = """\
customer,number,home,since,source
anna,+447700900123,H1,2026-01-05T10:00:00Z,same_account
ben,,H1,2026-01-05T10:00:00Z,
cleo,+447700900125,H2,yesterday,crm
"""


def sent(hearth: FakeHearth, run: Run, *arguments: str) -> dict[str, int]:
    ended = run("ingest", *arguments, "--target", hearth.address, "--json")
    assert ended.code == 0, ended.err
    return {name: ended.json[name] for name in ("read", "sent", "unreadable")}


def test_the_rows_of_a_crm_become_graph_events_each_under_an_id_of_its_own(hearth: FakeHearth, run: Run):
    Path("crm.csv").write_text(CRM)
    Path("links.yaml").write_text(LINKS)
    Path("homes.yaml").write_text(HOMES)

    assert sent(hearth, run, "--mapping", "links.yaml", "crm.csv") == {"read": 3, "sent": 2, "unreadable": 1}
    assert sent(hearth, run, "--mapping", "homes.yaml", "crm.csv") == {"read": 3, "sent": 2, "unreadable": 1}

    anna, ben, *homes = hearth.signals
    assert anna["type"] == "hearth.graph.link"
    assert (anna["identifier"], anna["subject"], anna["evidence"]) == (
        "msisdn:+447700900123",
        "member:anna",
        "same_account",
    )
    assert anna["event_id"] == "crm.csv:1:link"
    assert (ben["identifier"], ben["subject"]) == ("", "member:ben")  # which Hearth rejects, with the reason
    assert [(one["event_id"], one["household"], one["subject"]) for one in homes] == [
        ("crm.csv:1:join", "H1", "member:anna"),
        ("crm.csv:2:join", "H1", "member:ben"),
    ]


def test_rows_name_an_identifier_where_they_have_no_household_and_nobodys_rows_are_told(hearth: FakeHearth, run: Run):
    rows = ["who,m,number,at", "H1,anna,,1", ",,+4912,2", ",,,3", "H2,,+4913,4", ",anna,+4914,5"]
    Path("pay.csv").write_text("\n".join(rows))
    of_whom = 'household: "{who}", member: "{m}", identifier: "msisdn:{number}"'
    Path("map.yaml").write_text(f"files:\n  - {{type: pay, {of_whom}, time: {{column: at, unit: s}}}}\n")

    assert sent(hearth, run, "--mapping", "map.yaml", "pay.csv") == {"read": 5, "sent": 3, "unreadable": 2}

    assert [(one["household"], one["member"], one["identifier"]) for one in hearth.signals] == [
        ("H1", "anna", ""),
        ("", "", "msisdn:+4912"),
        ("H2", "", ""),  # the household goes before what it is known by
    ]
    told = Path("pay.csv.rejects.jsonl").read_text()
    assert "household and identifier are empty" in told
    assert "an identifier says who it is" in told


def test_a_plain_file_without_households_names_identifiers(hearth: FakeHearth, run: Run):
    Path("pay.csv").write_text("type,identifier,time,amount\npay,msisdn:+4912,2026-01-05T10:00:00Z,7\n")

    assert sent(hearth, run, "pay.csv") == {"read": 1, "sent": 1, "unreadable": 0}

    (one,) = hearth.signals
    assert (one["household"], one["identifier"], one["amount"]) == ("", "msisdn:+4912", 7)


def test_a_column_identifier_beside_households_stays_a_field(hearth: FakeHearth, run: Run):
    Path("pay.csv").write_text("type,household,identifier,time\npay,H1,x7,2026-01-05T10:00:00Z\n")

    sent(hearth, run, "pay.csv")

    assert hearth.signals[0]["household"] == "H1"
    assert "x7" in hearth.signals[0].values()


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ("type: pay, time: {column: at}", "whom are the rows about"),
        ('type: pay, identifier: "a:{n}", member: "{m}", time: {column: at}', "`member` goes with `household`"),
        (
            'type: pay, household: h, time: {column: at}, fields: {f: {column: a, text: "b"}}',
            "one of `column` and `text`",
        ),
        (
            'type: pay, household: h, time: {column: at}, fields: {f: {text: "{a}", type: number}}',
            "`text` makes a text",
        ),
        ('type: pay, identifier: "a:{gone}", time: {column: at}', "no column 'gone'"),
    ],
)
def test_a_mapping_that_names_nobody_is_refused_before_anything_is_sent(
    hearth: FakeHearth, run: Run, section: str, told: str
):
    Path("pay.csv").write_text("at,a,n,m\n2026-01-05T10:00:00Z,1,2,3\n")
    Path("map.yaml").write_text(f"files:\n  - {{{section}}}\n")

    ended = run("ingest", "--mapping", "map.yaml", "pay.csv", "--target", hearth.address)

    assert ended.code == 2
    assert told in ended.err
    assert not hearth.signals
