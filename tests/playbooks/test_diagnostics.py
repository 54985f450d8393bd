"""Laws: every mistake is found where it stands, said plainly, and answered with what would be right.

Each case replaces a piece of a sound playbook; « marks where the mistake must be reported.
"""

from pathlib import Path

import pytest

from playbooks.compiler import check, compile_playbook
from playbooks.diagnostics import PlaybookInvalid
from written.problems import Problem

SOUND = """\
playbook:
  name: small
  currency: EUR
  time_zone: Europe/Berlin
  clock: {lateness: 1d}
fields:
  amount: number
  evening: flag
  device: text
  pack: [film_box, kids_world]
  colour: [red, blue]
events:
  app.visit: {source: app, fields: {evening: optional}}
  topup: {source: billing, fields: {amount: {required: true, min: 0, max: 100}, device: optional}}
  stream: {source: network, fields: {pack: required, colour: optional}}
features:
  member.visits: {kind: count, events: app.visit, where: event.evening}
  member.spend_7d: {kind: window_sum, events: topup, field: amount, span: 7d, bucket: 6h}
  member.top_pack: {kind: most_used, events: stream, field: pack, half_life: 7d}
  member.top_colour: {kind: most_used, events: stream, field: colour, half_life: 7d}
  member.since_topup: {kind: last_seen, events: topup, unit: days}
  household.devices: {kind: distinct, events: topup, field: device, keep: 4}
segments:
  spender: member.spend_7d >= 60.0
channels:
  app: {inbound: true}
  push: {outbound: true, consent: "member.visits > 0", cost: 0.01}
families: [content]
offers:
  streaming_basic:
    family: content
    price: 9.99
    prior: 0.1
    eligible: member.top_pack == 'film_box'
    treatments: {app: "Films", push: "Films"}
  streaming_extra:
    family: content
    prior: 10%
    excludes: [streaming_basic]
    treatments: {app: {text: "More", parameters: {colour: red}}}
journeys:
  watch:
    trigger: {on: stream, when: "member.visits >= 3 && event.pack == 'film_box'", cooldown: 7d, scope: member}
    offers: [streaming_basic]
    outbound: [push]
  ask:
    contact: app.visit
    families: content
contact_policy:
  caps:
    week: {scope: member, window: 7d, most: 3}
  quiet_hours: {from: "21:00", to: "09:00"}
arbitration: {exploration: 5%}
"""

CASES = [
    # names that do not exist
    (
        "offers: [streaming_basic]",
        "offers: [«streaming_basc]",
        "offer 'streaming_basc' is not defined",
        "did you mean 'streaming_basic'?",
    ),
    (
        "excludes: [streaming_basic]",
        "excludes: [«streaming_basik]",
        "offer 'streaming_basik' is not",
        "'streaming_basic'?",
    ),
    (
        "families: content\ncontact",
        "families: [«contents]\ncontact",
        "family 'contents' is not defined",
        "did you mean 'content'?",
    ),
    (
        "family: content\n    price",
        "family: «mobile\n    price",
        "family 'mobile' is not defined",
        "the families are content",
    ),
    ("outbound: [push]", "outbound: [«pusch]", "channel 'pusch' is not defined", "did you mean 'push'?"),
    ("contact: app.visit", "contact: «app.visits", "event 'app.visits' is not defined", "did you mean 'app.visit'?"),
    ("on: stream", "on: «streams", "event 'streams' is not defined", "did you mean 'stream'?"),
    ("field: amount, span", "field: «amonut, span", "field 'amonut' is not defined", "did you mean 'amount'?"),
    (
        "fields: {evening: optional}",
        "fields: {«evning: optional}",
        "'evning', which is not among the fields",
        "'evening'?",
    ),
    ('{app: "Films", push', '{«fax: "Films", push', "treatment for channel 'fax'", "the channels are app, push"),
    (
        "price: 9.99",
        "segment_prices: {«spenders: 9.99}",
        "segment 'spenders' is not defined",
        "did you mean 'spender'?",
    ),
    # conditions: names
    (
        "member.spend_7d >= 60.0",
        "«member.spend_7 >= 60.0",
        "'member.spend_7' is not known here",
        "did you mean 'member.spend_7d'?",
    ),
    (
        "member.top_pack == 'film_box'",
        "«event.pack == 'film_box'",
        "'event.pack' is not known here",
        "no event is at hand here",
    ),
    (
        "where: event.evening",
        "where: «member.visits > 1",
        "'member.visits' is not known here",
        "'where' sees the event alone",
    ),
    (
        "event.pack == 'film_box'",
        "«event.amount > 1.0",
        "event 'stream' does not carry 'amount'",
        "add the field to that event type",
    ),
    (
        "where: event.evening",
        "where: event.evening && «event.amount > 1.0",
        "does not carry 'amount'",
        "leave the type out",
    ),
    (
        "member.top_pack == 'film_box'",
        "member.top_pack == «film_box",
        "'film_box' is not known here",
        "in quotes: 'film_box'",
    ),
    (
        "member.top_pack == 'film_box'",
        "«segment.spenders",
        "'segment.spenders' is not known here",
        "did you mean 'segment.spender'?",
    ),
    # conditions: types
    ("member.spend_7d >= 60.0", "member.spend_7d «>= 60", "'>=' does not take double and int", "write 60.0"),
    ("member.spend_7d >= 60.0", "60 «<= member.spend_7d", "'<=' does not take int and double", "write 60.0"),
    ('"member.visits > 0"', '"member.visits «> 0.0"', "'>' does not take int and double", "write 0"),
    (
        '"member.visits > 0"',
        '"member.visits «> 0.5"',
        "'>' does not take int and double",
        "write 0 or wrap it in double(…)",
    ),
    (
        '"member.visits > 0"',
        '"member.visits «> member.spend_7d"',
        "does not take int and double",
        "wrap the whole number: double(…)",
    ),
    (
        "member.top_pack == 'film_box'",
        "member.top_pack == «'film_bok'",
        "none of the declared values",
        "did you mean 'film_box'? ('film_box', 'kids_world')",
    ),
    (
        "member.top_pack == 'film_box'",
        "member.top_pack in ['film_box', «'zoo']",
        "'zoo' is none of",
        "use one of ('film_box', 'kids_world')",
    ),
    (
        "member.top_pack == 'film_box'",
        "member.top_pack «== member.top_colour",
        "can never be equal",
        "'film_box', 'kids_world'",
    ),
    ("member.top_pack == 'film_box'", "member.top_pack «> 'film_box'", "no order", "==, != or 'in'"),
    ("member.top_pack == 'film_box'", "member.top_pack «== 1", "'==' does not take string and int", "text in quotes"),
    ("member.spend_7d >= 60.0", "member.spend_7d «+ 60.0", "this is a double, not true or false", "compare it"),
    ("member.spend_7d >= 60.0", "member.visits «&& true", "'&&' does not take int and bool", "true or false"),
    # conditions: reading
    ("member.spend_7d >= 60.0", "member.spend_7d >= 60.0 «and true", "cannot be read", "write && for 'and'"),
    ("member.spend_7d >= 60.0", "member.spend_7d «= 60.0", "cannot be read", "write == to compare"),
    ("member.spend_7d >= 60.0", "(member.spend_7d >= 60.0«", "cannot be read", "check the parentheses"),
    ("member.spend_7d >= 60.0", "«has(member.spend_7d)", "has() is not part", "write known(…)"),
    (
        "member.spend_7d >= 60.0",
        "member.spend_7d >= 60.0 && 'x'.matches«('y')",
        "the function 'matches'",
        "conditions know comparisons",
    ),
    ("member.spend_7d >= 60.0", "member.visits in «[]", "nothing is in an empty list", "at least one"),
    # keys and values
    (
        "    prior: 0.1\n",
        "    prior: «1.1\n",
        "'prior' of offer 'streaming_basic' is '1.1'",
        "between 0 and 1, such as 0.05 or 5%",
    ),
    ("    prior: 0.1\n", "    «priorr: 0.1\n", "has no key 'priorr'", "did you mean 'prior'?"),
    (
        "    price: 9.99\n",
        "    price: «9.999\n",
        "'price' of offer 'streaming_basic' is '9.999'",
        "EUR with at most 2 decimals",
    ),
    ("    price: 9.99\n", "    price: «-1\n", "is '-1'", "such as 9.99"),
    ("    price: 9.99\n", "    «prise: 9.99\n", "offer 'streaming_basic' has no key 'prise'", "did you mean 'price'?"),
    ("    price: 9.99\n", "    lever: «-2\n", "'lever' of offer 'streaming_basic' is -2", "from 0 to 100"),
    ("    price: 9.99\n", "    kind: «ofer\n", "'kind' of offer 'streaming_basic' is 'ofer'", "did you mean 'offer'?"),
    ("    price: 9.99\n", "    standing: «yes\n", "'standing' of offer", "write true or false"),
    (
        "span: 7d, bucket: 6h",
        "span: «7 days, bucket: 6h",
        "'span' of feature 'member.spend_7d' is '7 days'",
        "such as 7d, 6h, 15m or 30s",
    ),
    ("span: 7d, bucket: 6h", "span: 7d, «bucket: 5h", "no whole number of buckets", "divides the span"),
    ("span: 7d, bucket: 6h", "span: 7d, «bucket: 1m", "would keep 10080 buckets, at most 1024", "larger bucket"),
    ("kind: count", "kind: «cuont", "is 'cuont'", "did you mean 'count'?"),
    ("unit: days", "unit: «dais", "'unit' of feature", "did you mean 'days'?"),
    ("keep: 4", "keep: «0", "is '0'", "from 1 to 64"),
    (
        "field: pack, half",
        "field: «device, half",
        "most_used cannot use 'device', a field of kind text",
        "of kind enum",
    ),
    ("field: amount, span", "field: «pack, span", "does not carry 'pack'", ""),
    ("source: app,", "source: «apps,", "'source' of event 'app.visit' is 'apps'", "did you mean 'app'?"),
    ("min: 0, max: 100", "«min: 100, max: 0", "min 100.0 is above max 0.0", "swap"),
    ("amount: number", "amount: «money", "field 'amount' is 'money'", "number, flag, text, or a list"),
    ("pack: [film_box, kids_world]", "pack: [film_box, «film_box]", "lists 'film_box' twice", "remove"),
    (
        "  app.visit: {source: app",
        "  «hearth.visit: {source: app",
        "event 'hearth.visit' is reserved",
        "choose another name",
    ),
    (
        "  member.visits:",
        "  «person.visits:",
        "feature 'person.visits' belongs to nobody",
        "household.visits or member.visits",
    ),
    ("  spender:", "  «in:", "'in' is not a possible name", "a word of the condition language"),
    ("  spender:", "  «Big-Spender:", "is not a possible name", "lower-case letters"),
    ("app: {inbound: true}", "«app: {}", "neither inbound nor outbound", "inbound: true"),
    (
        ', consent: "member.visits > 0"',
        "",
        "channel 'push' is outbound and asks for no consent",
        "member.consent_marketing",
    ),
    ("app: {inbound: true}", "«app: {inbound: true, groups: [main]}", "groups and is not outbound", "remove 'groups:'"),
    (
        "push: {outbound: true,",
        "push: {outbound: true, groups: [«Main],",
        "'Main' is not a possible name",
        "lower-case",
    ),
    ("outbound: [push]", "outbound: [«app]", "'app', which is not outbound", "the outbound channels are push"),
    ("currency: EUR", "currency: «Euro", "'currency' is 'Euro'", "such as EUR"),
    ("Europe/Berlin", "«Europe/Berln", "does not exist", "did you mean 'Europe/Berlin'?"),
    ("Europe/Berlin", "«localtime", "the time zone 'localtime' does not exist", "write a name such as Europe/Berlin"),
    ('from: "21:00"', 'from: «"25:00"', "'from' of 'quiet_hours' of the contact policy is '25:00'", "such as 21:00"),
    (
        "    contact: app.visit\n",
        "    title: x\n",
        "journey 'ask' has neither a trigger nor a contact",
        "'contact:' events",
    ),
    ("window: 7d, most: 3", "window: 7d", "contact cap 'week' needs 'most'", "add 'most: …'"),
    ("    family: content\n    price", "    price", "offer 'streaming_basic' needs 'family'", "add 'family: …'"),
    ("\n  name: small", "", "the section 'playbook' needs 'name'", "add 'name: …'"),
    ("arbitration:", "«arbitrage:", "a playbook has no key 'arbitrage'", "did you mean 'arbitration'?"),
    ("events: topup, field: amount", "events: «[], field: amount", "is an empty list", "name at least one"),
    ("    price: 9.99\n", "    «price:\n", "'price' of offer 'streaming_basic' holds nothing", "give it a value"),
    ("    price: 9.99\n", "    price: «[9.99]\n", "is a list", "write a single value"),
    (
        '    treatments: {app: "Films", push: "Films"}\n',
        "",
        "offer 'streaming_basic' has no treatment",
        "a text per channel",
    ),
    ('"Films", push', '"Films for «{name}", push', "the placeholder '{name}' means nothing here", "for_each"),
    ("    price: 9.99\n", "    price: 9.99\n    «price: 8.99\n", "'price' is already given in line 32", "remove"),
    ("  streaming_extra:", "  «streaming_basic:", "'streaming_basic' is already given in line 30", "rename"),
    (
        "  spender: member.spend_7d >= 60.0",
        "  spender: «segment.big\n  big: segment.spender",
        "in a circle: spender → big → spender",
        "break it",
    ),
    # YAML itself
    ("families: [content]", "families: [content", "this is not YAML", "brackets and indentation"),
    ("  name: small", "  name: small\n«\tx: 1", "this is not YAML", "spaces, not tabs"),
    ("currency: EUR", "currency: &money EUR\n  x: «*money", "refers to an anchor", "write the value out"),
    ("currency: EUR", "currency: «!!python/object:os.system EUR", "tag", "plain value"),
]


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "playbook.yaml"
    path.write_text(text.replace("«", ""), encoding="utf-8")
    return path


def problems_of(tmp_path: Path, text: str) -> tuple[Problem, ...]:
    return check(written(tmp_path, text))


def test_the_sound_playbook_is_sound(tmp_path):
    assert problems_of(tmp_path, SOUND) == ()


@pytest.mark.parametrize(
    ("piece", "broken", "wrong", "right"), [pytest.param(*case, id=f"{number}") for number, case in enumerate(CASES)]
)
def test_a_mistake_is_reported_where_it_stands_with_what_would_be_right(tmp_path, piece, broken, wrong, right):
    assert SOUND.count(piece) == 1, "the case must replace one place"
    text = SOUND.replace(piece, broken)
    problems = problems_of(tmp_path, text)
    assert problems
    if "«" in text:
        before = text[: text.index("«")]
        place = (before.count("\n") + 1, len(before) - before.rfind("\n"))
        assert place in [(one.place.line, one.place.column) for one in problems]
    assert any(wrong in one.wrong and right in one.right for one in problems)


def test_all_mistakes_are_told_at_once_in_reading_order(tmp_path):
    text = SOUND.replace("prior: 0.1", "prior: 2").replace("offers: [streaming_basic]", "offers: [nothing_like_it]")
    with pytest.raises(PlaybookInvalid) as raised:
        compile_playbook(written(tmp_path, text.replace("currency: EUR", "currency: euro")))
    assert [problem.place.line for problem in raised.value.problems] == [3, 33, 44]
    assert str(raised.value).splitlines()[0] == (
        "playbook.yaml:3:13: 'currency' is 'euro'; write its three capital letters (ISO 4217), such as EUR"
    )


@pytest.mark.parametrize(
    ("piece", "broken"),
    [
        ("amount: number", "amount: money"),
        ("fields: {evening: optional}", "fields: {evning: optional}"),
        ("half_life: 7d}\n  member.top_colour", "half_life: long}\n  member.top_colour"),
        ("field: amount, span", "field: amonut, span"),
        ("member.spend_7d >= 60.0", "member.spend_7d >= 60"),
        ("kind: most_used, events: stream, field: pack", "kind: most_usd, events: stream, field: pack"),
    ],
)
def test_one_mistake_is_told_once_however_many_use_what_it_breaks(tmp_path, piece, broken):
    assert SOUND.count(piece) == 1
    assert len(problems_of(tmp_path, SOUND.replace(piece, broken))) == 1


def test_a_place_in_a_folded_quoted_or_indented_condition_is_exact(tmp_path):
    folded = "  spender: >-\n    member.visits > 0\n      && «member.visit > 1\n"
    text = SOUND.replace("  spender: member.spend_7d >= 60.0\n", folded)
    assert [(p.place.line, p.place.column) for p in problems_of(tmp_path, text)] == [(26, 10)]
    plain = "  spender: member.visits > 0\n    && «member.visit > 1\n"
    text = SOUND.replace("  spender: member.spend_7d >= 60.0\n", plain)
    assert [(p.place.line, p.place.column) for p in problems_of(tmp_path, text)] == [(25, 8)]
    quoted = "  spender: 'member.top_pack == ''film_box'' && «member.visit > 1'\n"
    text = SOUND.replace("  spender: member.spend_7d >= 60.0\n", quoted)
    assert [(p.place.line, p.place.column) for p in problems_of(tmp_path, text)] == [(24, 48)]


def test_files_that_cannot_be_read_say_why(tmp_path):
    missing, folder, empty, binary = (tmp_path / name for name in ("missing", "folder", "empty.yaml", "binary.yaml"))
    folder.mkdir()
    empty.write_text("# nothing yet\n")
    binary.write_bytes(b"playbook:\n  name: caf\xe9\n")
    said = [str(problem) for path in (missing, folder, empty, binary) for problem in check(path)]
    assert said == [
        f"{missing}:1:1: there is no such file or folder; name a playbook's YAML file, or the folder of such files",
        f"{folder}:1:1: no YAML file in this folder; a playbook is one or more files ending in .yaml",
        "empty.yaml:1:1: the file is empty; write at least one section, such as 'offers:'",
        "binary.yaml:2:12: this is not UTF-8 text; save the file as UTF-8",
    ]


def test_a_file_of_the_wrong_shape_says_so(tmp_path):
    assert "holds sections" in problems_of(tmp_path, "- a\n- b\n")[0].wrong
    assert "is a list" in problems_of(tmp_path, "playbook: [name]\n")[0].wrong
    assert "nested too deeply" in problems_of(tmp_path, "playbook: " + "[" * 5_000)[0].wrong
    assert "needs 'playbook'" in problems_of(tmp_path, "families: [content]\n")[0].wrong
    assert "not allowed" in problems_of(tmp_path, "playbook: {name: \x00}\n")[0].wrong


def test_one_name_in_two_files_is_reported_in_the_second(tmp_path):
    (tmp_path / "a.yaml").write_text(SOUND)
    (tmp_path / "b.yaml").write_text("families: [x]\noffers:\n  streaming_basic: {family: content}\n")
    said = [str(problem) for problem in check(tmp_path)]
    assert said == [
        "b.yaml:1:1: 'families' is already given at a.yaml:28:1; keep one of the two",
        "b.yaml:3:3: 'streaming_basic' is already defined at a.yaml:30:3; remove or rename one of the two",
    ]
