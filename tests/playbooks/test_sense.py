"""Warnings for sense.

Laws:
    each is told with file, line, what is wrong and what would be right;
    a sound playbook gives none: what may well be meant is no warning;
    a warning fails nothing unless it is asked to.
"""

import functools
from itertools import product
from pathlib import Path

import pytest

from household.columns.program import evaluate
from playbooks.compiler import TELCO, Examined, compile_playbook, examine
from playbooks.satisfiable import Scene, contradiction, tree_of
from tests.household.journey_world import playbook_text

SOUND = """\
playbook: {name: sound, currency: EUR}
fields:
  amount: number
  age: number
  marketing: flag
  pack: [film, kids, sport]
events:
  check: {source: app}
  visit: {source: app}
  pay: {source: wallet, fields: {amount: {required: true, min: 0, max: 1000000}, pack: optional}}
  consent: {source: app, fields: {marketing: required}}
  profile: {source: app, fields: {age: {min: 0, max: 120}}}
features:
  member.checks: {kind: newest_times, events: check, keep: 3, span: 7d}
  member.marketing: {kind: profile, events: consent, field: marketing, scored: false}
  member.pack: {kind: most_used, events: pay, field: pack, half_life: 7d}
  member.packs: {kind: distinct, events: pay, field: pack, keep: 8}
  member.age: {kind: profile, events: profile, field: age}
  household.payments: {kind: count, events: pay}
  household.paid: {kind: window_sum, events: pay, field: amount, span: 7d, bucket: 6h}
  household.paid_half: {kind: decayed_count, events: pay, half_life: 1d}
  household.trend: {kind: trend, events: pay, span: 7d, bucket: 1d}
  household.since_paid: {kind: last_seen, events: pay, unit: days}
segments:
  payer: household.payments >= 3
  young: member.age < 30.0
channels:
  app: {inbound: true}
  push: {outbound: true, consent: member.marketing}
  sms: {outbound: true, cost: 0.04, quiet_hours: true, consent: member.marketing}
contact_policy:
  caps:
    day: {scope: member, window: 1d, most: 1}
    texts: {scope: household, channels: sms, window: 7d, most: 2}
  quiet_hours: {from: "21:00", to: "09:00"}
  decline: {offer: 90d, family: 7d}
arbitration: {exploration: 5%}
families: [mobile, content]
offers:
  topup:
    family: mobile
    price: 12.99
    segment_prices: {payer: 9.99, young: 12.99}
    margin: 3.20
    prior: 20%
    eligible: segment.payer || member.pack == 'film'
    treatments: {app: Top up, sms: Top up}
  "films_{pack}":
    for_each: pack
    family: content
    price: 4.99
    margin: 48
    prior: 10%
    eligible: member.pack == '{pack}'
    standing: true
    treatments: {app: "{pack.title}", push: "{pack.title}"}
journeys:
  low:
    trigger: {on: check, when: member.checks >= 3 && segment.young, cooldown: 7d}
    offers: topup
    control: 10%
    outbound: [push, sms]
  welcome: {contact: visit, families: all, control: 10%}
"""
SOUND = SOUND.replace("segment_prices: {payer: 9.99, young: 12.99}", "segment_prices: {young: 12.99, payer: 9.99}")
SOUND = SOUND.replace("treatments: {app: Top up, sms: Top up}", "treatments: {app: Top up, push: Top up, sms: Top up}")


def examined(tmp_path: Path, *changes: tuple[str, str]) -> Examined:
    text = SOUND
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    path = tmp_path / "shop.yaml"
    path.write_text(text)
    found = examine(path)
    assert found.plan is not None, found.problems
    return found


def line_of(found: Examined, tmp_path: Path, number: int = 0) -> str:
    return (tmp_path / "shop.yaml").read_text().splitlines()[found.warnings[number].place.line - 1].strip()


def test_the_shipped_playbooks_and_a_sound_one_give_no_warning(tmp_path: Path):
    assert [examine(path).warnings for path in (TELCO, TELCO.parent / "cns")] == [(), ()]
    assert examined(tmp_path).warnings == ()


MONEY = [
    (
        "    price: 12.99\n    segment_prices: {young: 12.99, payer: 9.99}",
        "    segment_prices: {young: 1299}",
        "the price of offer 'topup' for 'young', 1299.00, is 406 times its margin, 3.20",
    ),
    ("price: 12.99\n", "price: 1299\n", "the price of offer 'topup', 1299.00, is 406 times its margin, 3.20"),
    ("margin: 3.20", "margin: 320", "the margin of offer 'topup', 320.00, is 25 times its price, 12.99"),
    ("margin: 3.20", "margin: 3200", "the margin of offer 'topup', 3200.00, is 246 times its price, 12.99"),
    ("margin: 48", "margin: 4800", "the margin of offer 'films_{pack}', 4800.00, is 962 times its price, 4.99"),
    (
        "payer: 9.99",
        "payer: 999",
        "for 'payer', 999.00, is far from its price, 12.99: 77 times",
    ),
    (
        "payer: 9.99",
        "payer: 0.09",
        "for 'payer', 0.09, is far from its price, 12.99: 144 times",
    ),
    ("payer: 9.99", "payer: 12.99", "the price of offer 'topup' for 'payer' is its price anyway"),
    ("    margin: 3.20\n", "", "offer 'topup' is never worth making: it earns 0.00 and costs 0.00"),
    ("margin: 3.20", "margin: 3.20\n    cost: 4", "offer 'topup' is never worth making: it earns 3.20 and costs 4.00"),
    ("margin: 3.20", "margin: 3.20\n    lever: 0", "offer 'topup' is never worth making: its lever is 0"),
    ("prior: 20%", "prior: 0", "offer 'topup' is never made: its prior is 0"),
    ("prior: 20%", "prior: 1", "the prior of offer 'topup' is 100 %"),
]

CONDITIONS = [
    (
        "checks >= 3",
        "checks >= 4",
        "can never be true: member.checks >= 4, but member.checks lies between 0 and 3 (keep: 3)",
    ),
    ("checks >= 3", "checks > 3", "'when' of journey 'low' can never be true"),
    ("checks >= 3", "checks == 7", "'when' of journey 'low' can never be true"),
    ("checks >= 3", "checks / 2 >= 2", "'when' of journey 'low' can never be true"),
    ("checks >= 3", "checks % 2 == 2", "'when' of journey 'low' can never be true"),
    ("checks >= 3", "checks % 2 == -1", "'when' of journey 'low' can never be true"),
    ("checks >= 3", "checks - member.checks > 0", "'when' of journey 'low' can never be true"),
    ("checks >= 3", "checks * member.checks < 0", "'when' of journey 'low' can never be true"),
    ("member.checks >= 3", "int(member.age) > 120", "'when' of journey 'low' can never be true"),
    ("checks >= 3", "member.packs >= 4", "but member.packs lies between 0 and 3"),
    (
        "payments >= 3",
        "payments > 5 && household.payments < 3",
        "segment 'payer' can never be true: household.payments > 5 and household.payments < 3 do not go together",
    ),
    ("payments >= 3", "payments > 5 && household.payments < 6", "do not go together"),
    ("payments >= 3", "payments > 5 && !(household.payments > 3)", "household.payments <= 3 do not go together"),
    ("payments >= 3", "payments < 0", "but household.payments is never below 0"),
    ("payments >= 3", "trend < -1.0", "but household.trend is never below -1"),
    ("payments >= 3", "paid < 0.0", "but household.paid is never below 0"),
    ("payments >= 3", "since_paid < 0.0", "but household.since_paid is never below 0"),
    ("payments >= 3", "paid > household.paid_half && household.paid < household.paid_half", "do not go together"),
    ("member.age < 30.0", "member.age > 120.0", "but member.age lies between 0 and 120"),
    ("member.age < 30.0", "member.age < 30.0 && member.age >= 65.0", "do not go together"),
    ("member.age < 30.0", "'!known(member.age) && member.age < 30.0'", "do not go together"),
    ("member.age < 30.0", "known(member.age) == false && member.age < 30.0", "do not go together"),
    ("member.age < 30.0", "member.age in [17.0, 18.0] && member.age > 20.0", "do not go together"),
    ("member.age < 30.0", "'false'", "segment 'young' can never be true"),
    (
        "segment.young",
        "segment.young && member.age > 40.0",
        "'when' of journey 'low' can never be true: segment.young and member.age > 40 do not go together",
    ),
    ("segment.payer || member.pack == 'film'", "segment.payer && household.payments == 0", "segment.payer and"),
    ("segment.payer || member.pack == 'film'", "member.pack == 'film' && member.pack == 'kids'", "do not go together"),
    (
        "segment.payer || member.pack == 'film'",
        "segment.payer || member.checks == 5",
        "a part of 'eligible' of offer 'topup', member.checks == 5, can never be true",
    ),
    (
        "{outbound: true, consent: member.marketing}",
        "{outbound: true, consent: member.marketing && !member.marketing}",
        "'consent' of channel 'push' can never be true: member.marketing and !member.marketing do not go together",
    ),
    (
        "{kind: count, events: pay}",
        "{kind: count, events: pay, where: event.amount < 0.0}",
        "'where' of feature 'household.payments' can never be true: event.amount < 0, but event.amount lies between",
    ),
    (
        "trigger: {on: check, when: member.checks >= 3",
        "trigger: {on: pay, when: household.payments > 1 && event.amount > 2000000.0",
        "'when' of journey 'low' can never be true: event.amount > 2e+06",
    ),
]

REACH = [
    (
        "offers:\n  topup",
        "offers:\n  lonely: {family: mobile, margin: 1, prior: 1%, treatments: {app: Hi}}\n  topup",
        "nothing brings up offer 'lonely': no journey has it",
    ),
    ("families: all", "offers: topup", "nothing brings up offer 'films_{pack}': no journey has it"),
    ("    standing: true\n", "", "nothing brings up offer 'films_{pack}': no journey has it"),
    ("families: all, control", 'families: all, offers: ["films_{pack}"], control', None),
    (
        "[mobile, content]\noffers:\n",
        "[mobile, content]\noffers:\n  hello: {family: mobile, margin: 1, prior: 1%, treatments: {app: Hi}}\n",
        "nothing brings up offer 'hello'",
    ),
    (
        "    outbound: [push, sms]\n",
        "    outbound: push\n",
        "the words of offer 'topup' for 'sms' are never said: 'low'",
    ),
    (
        '{app: "{pack.title}", push: "{pack.title}"}',
        '{push: "{pack.title}"}',
        "no channel carries offer 'films_{pack}': it has words for push, where none of its journeys speaks",
    ),
    ("control: 10%\n    outbound", "outbound", "journey 'low' has no control group"),
    ("all, control: 10%", "all", "journey 'welcome' has no control group"),
    ("all, control: 10%", "all, control: 0%", "journey 'welcome' has no control group"),
    ("all, control: 10%", "all, control: 1", "the control group of journey 'welcome' is everyone"),
    ("all, control: 10%", "all, control: 90%", "the control group of journey 'welcome' is 90% of the households"),
    ("families: all", "families: mobile", "journey 'welcome' brings up no offer"),
    ("{contact: visit", "{contact: visit, outbound: push", "journey 'welcome' begins with a contact"),
    (
        "{on: check,",
        "{on: [check, visit, pay],",
        "journey 'low' is looked at after each 'visit', 'pay', of which 'when'",
    ),
    ("{on: check,", "{on: all,", None),
    ("when: member.checks >= 3 && segment.young", "when: 'true'", None),
    ("prior: 20%", "prior: 20%\n    valid: 5m", "offer 'topup' is valid for 5m, less than the 15m for which 'check'"),
]

POLICY = [
    ('from: "21:00", to: "09:00"', 'from: "09:00", to: "21:00"', "the quiet hours are those of the day"),
    (
        'from: "21:00", to: "09:00"',
        'from: "00:00", to: "23:59"',
        "the quiet hours leave 1 min of a day",
    ),
    (
        "cost: 0.04",
        "cost: 4",
        "a contact on 'sms' costs 4.00, and no offer is expected to earn more there (at best 0.64)",
    ),
    ("most: 1}", "most: 0}", "contact cap 'day' is 0: nothing is ever sent on its channels"),
    (
        "channels: sms, window",
        "channels: [sms, app], window",
        "contact cap 'texts' counts 'app', where nothing is sent",
    ),
    (
        "sms: {outbound: true, cost: 0.04, quiet_hours: true",
        "sms: {outbound: true, cost: 0.04",
        "no outbound channel keeps the quiet hours",
    ),
    ('  quiet_hours: {from: "21:00", to: "09:00"}\n', "", "channel 'sms' keeps quiet hours, and there are none"),
    (
        "app: {inbound: true}",
        "app: {inbound: true, quiet_hours: true}",
        "channel 'app' keeps quiet hours, and we never",
    ),
    ("{offer: 90d, family: 7d}", "{offer: 7d, family: 90d}", "a declined offer stays away for a shorter time"),
    ("exploration: 5%", "exploration: 1", "100% of the decisions are taken at random"),
]


@pytest.mark.parametrize(("old", "new", "told"), [*MONEY, *CONDITIONS, *REACH, *POLICY])
def test_what_is_hardly_meant_is_told_with_its_line_and_what_would_be_right(
    tmp_path: Path, old: str, new: str, told: str | None
):
    # "checks >= 3" → "member.packs >= 4" and the like: the scope is part of either text.
    new = new.replace("member.member.", "member.") if "member.packs" not in new else new
    found = examined(tmp_path, (f"member.{old}" if "member.packs" in new else old, new))

    if told is None:
        assert [one.wrong for one in found.warnings if "no journey has it" not in one.wrong] == []
        return
    matching = [one for one in found.warnings if told in one.wrong]
    assert matching, [str(one) for one in found.warnings]
    assert all(one.right for one in found.warnings)
    assert matching[0].place.file == "shop.yaml"
    assert matching[0].place.line > 1


@pytest.mark.parametrize(
    ("wait", "told"),
    [
        ("{on: hearth.decline}, then: lost, timeout: {after: 14d, then: end}", None),
        ("{on: wallet.payment}, then: lost, timeout: {after: 30d, then: end}", None),
        ("[{on: app.visit, then: lost}, {on: hearth.decline, then: lost}], timeout: {after: 30d, then: end}", None),
        ("{on: hearth.decline}, then: lost, timeout: {after: 15d, then: end}", "waits 15d for an answer to what 'say'"),
        ("[{on: hearth.accept, then: lost}], timeout: {after: 30d, then: end}", "says, which is valid for 14d"),
    ],
)
def test_who_waits_for_an_answer_to_what_has_expired_is_told(tmp_path: Path, wait: str, told: str | None):
    journey = f"""
    trigger: {{on: wallet.topup}}
    goal: {{on: wallet.payment}}
    states:
      say: {{act: remind, within: 1h, blocked: skip, failed: lost, then: listen}}
      listen: {{wait: {wait}}}
      lost: end
    """
    path = tmp_path / "shop.yaml"
    path.write_text(playbook_text(journey, control="10%"))
    found = examine(path)
    assert found.plan is not None, found.problems
    matching = [one for one in found.warnings if "answer" in one.wrong]
    assert [told in one.wrong for one in matching] == ([] if told is None else [True])
    assert all(path.read_text().splitlines()[one.place.line - 1].strip().startswith("listen:") for one in matching)


def test_the_place_is_where_it_is_written(tmp_path: Path):
    found = examined(tmp_path, ("checks >= 3", "checks >= 4"))
    assert line_of(found, tmp_path).startswith("trigger: {on: check, when: member.checks >= 4")
    assert "let 'member.checks' keep more than 3" in found.warnings[0].right
    found = examined(tmp_path, ("most: 1}", "most: 0}"))
    assert line_of(found, tmp_path).startswith("day: {scope: member")
    found = examined(tmp_path, ("price: 12.99\n", "price: 1299\n"))
    assert line_of(found, tmp_path) == "price: 1299"
    assert "write 12.99 if that is meant" in found.warnings[0].right


@pytest.mark.parametrize(
    ("currency", "price", "margin", "told"),
    [
        ("JPY", "1300", "320", None),
        ("JPY", "130000", "320", "the price of offer 'topup', 130000, is 406 times its margin, 320"),
        ("KWD", "1.300", "0.320", None),
        ("KWD", "1300", "0.320", "is 4,062 times its margin, 0.320"),
    ],
)
def test_amounts_are_compared_in_the_units_of_their_currency(
    tmp_path: Path, currency: str, price: str, margin: str, told: str | None
):
    changes = [("EUR", currency), ("price: 12.99\n", f"price: {price}\n"), ("margin: 3.20", f"margin: {margin}")]
    if currency == "JPY":
        changes += [
            ("young: 12.99, payer: 9.99", "payer: 1000"),
            ("price: 4.99", "price: 499"),
            ("cost: 0.04", "cost: 4"),
        ]
    else:
        changes += [("young: 12.99, payer: 9.99", f"payer: {price}9" if "." not in price else "payer: 1.000")]

    found = [one.wrong for one in examined(tmp_path, *changes).warnings]

    assert (found == []) if told is None else any(told in one for one in found)


def test_a_dear_phone_and_a_lifetime_margin_are_meant(tmp_path: Path):
    """999.00 with a margin of 40, and 9.99 a month worth 240 in two years."""
    phone = (
        "  phone: {family: mobile, price: 999.00, margin: 40, prior: 1%, standing: true, treatments: {app: Phone}}\n"
    )
    plan = "  plan: {family: mobile, price: 9.99, margin: 188.00, prior: 1%, standing: true, treatments: {app: Plan}}\n"
    assert examined(tmp_path, ("offers:\n  topup", f"offers:\n{phone}{plan}  topup")).warnings == ()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "member.checks >= 3",
            "household.payments >= 0 && member.checks >= 3",
            "household.payments >= 0, is always true",
        ),
        (
            "household.payments >= 3",
            "household.payments >= 1 || household.payments < 1",
            "segment 'payer' is always true",
        ),
        ("  young: member", "  old: member.age > 65.0\n  young: member", "segment 'old' is used nowhere"),
        ("  age: number\n", "  age: number\n  shoe: number\n", "field 'shoe' is carried by no event"),
        ("[mobile, content]", "[mobile, content, care]", "family 'care' has no offer"),
        ("name: sound,", "name: sound, time_zone: Europe/Berlin,", "begin at midnight UTC, not in Europe/Berlin"),
        (
            "  household.trend:",
            "  member.sick: {kind: count, events: visit, scored: false}\n  household.trend:",
            "feature 'member.sick' is used nowhere",
        ),
    ],
)
def test_what_may_be_meant_is_information(tmp_path: Path, old: str, new: str, told: str):
    found = examined(tmp_path, (old, new))
    assert found.warnings == ()
    assert any(told in one.wrong for one in found.information), found.information


ATOMS = (
    "household.payments >= 3", "household.payments < 2", "household.payments != 4", "member.checks > 2",
    "member.pack == 'film'", "member.marketing", "household.payments > member.checks", "known(member.pack)",
)  # fmt: skip


@functools.cache
def readings() -> tuple[tuple[float, float, float, float], ...]:
    """Every corner of what the four names can be, unknown included."""
    nan = float("nan")
    return tuple(product((0, 1, 2, 3, 4, 5, 90), (0, 1, 2, 3), (nan, 0, 1, 2), (nan, 0, 1)))


def test_nothing_that_can_be_true_is_called_impossible(tmp_path: Path):
    """Against the interpreter of programs: all pairs of comparisons, joined and negated in four ways."""
    texts = [
        shape.format(a=a, b=b)
        for a, b in product(ATOMS, ATOMS)
        for shape in ("{a} && {b}", "{a} && !({b})", "!({a} || {b})", "({a} || {b}) && !({a} && {b})")
    ]
    segments = "".join(f'  s{number}: "{text}"\n' for number, text in enumerate(texts))
    path = tmp_path / "many.yaml"
    path.write_text(SOUND.replace("  young: member", f"{segments}  young: member"))
    plan = compile_playbook(path)
    index = {feature.name: number for number, feature in enumerate(plan.features)}
    told, not_found = 0, 0
    for segment, text in zip(plan.segments[1:-1], texts, strict=True):
        program = plan.programs[segment.program]
        can_be = False
        for payments, checks, pack, marketing in readings():
            values = [0.0] * len(plan.features)
            values[index["household.payments"]], values[index["member.checks"]] = payments, checks
            values[index["member.pack"]], values[index["member.marketing"]] = pack, marketing
            if evaluate(program.ops, program.args, values, []) == 1.0:
                can_be = True
                break
        is_never = contradiction(Scene(plan), tree_of(program, {})) is not None
        assert not (is_never and can_be), text
        told += is_never
        not_found += not can_be
    assert (told, not_found) == (26, 26)
