"""YAML files of settings.

Laws:
    a text is what is written, whatever YAML 1.1 makes of it; a number is one only where the key takes numbers;
    a key that is given twice, a tag or what is no text of UTF-8 is refused with its line;
    references are followed as far as people would write them.
"""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from intake.capture.settings import load_connectors
from intake.errors import InputWrong
from intake.reading.mapping import MappingInvalid, load_mapping
from intake.reading.yaml_file import read_yaml
from tests.cluster.conftest import Run
from tests.cluster.fake_hearth import FakeHearth
from written.problems import WritingInvalid

GUESSED = (
    "NO", "no", "yes", "Yes", "on", "off", "y", "n", "true", "False", "0123", "0o17", "0x1F", "0b11", "1_000", "12:30",
    "12:30:45", "2026-01-01", "2026-01-01T10:00:00Z", "2026-01-01 10:00:00 +1", ".inf", "-.Inf", ".nan", "1e3", "+5",
    "-1", "0", "1.50", "NULL", "Null", "=",
)  # fmt: skip
"""What YAML 1.1 reads as something else than the text."""


def read(tmp_path: Path, text: str | bytes) -> object:
    path = tmp_path / "some.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_yaml(path, name="some.yaml", example="files:")


@pytest.mark.parametrize("text", GUESSED)
def test_a_text_is_what_is_written_as_a_value_as_a_key_and_in_a_list(tmp_path: Path, text: str):
    found = read(tmp_path, f"a: {text}\n{text}: b\nc: [{text}]\nd: '{text}'\n")

    assert found == {"a": text, text: "b", "c": [text], "d": text}


def test_nothing_is_nothing_but_in_a_list_it_is_what_is_written(tmp_path: Path):
    assert read(tmp_path, "a:\nb: ~\nc: null\nd: [null, ~]\n") == {"a": None, "b": None, "c": None, "d": ["null", "~"]}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\nb: 2\na: 3\n", "some.yaml:3:1: 'a' is already given in line 1"),
        ("a: {b: 1, b: 2}\n", "some.yaml:1:11: 'b' is already given in line 1"),
        ("a: !!python/name:os.system x\n", "some.yaml:1:4: the tag !!python/name:os.system is not allowed"),
        ("a: !!python/object/apply:os.system [ls]\n", "some.yaml:1:4: the tag !!python/object/apply:os.system"),
        ("a: &b !!map {c: 1}\n", "the tag !!map is not allowed"),
        ("a:\n\tb: 1\n", "some.yaml:2:1"),
        (b"a: 1\nb: M\xfcller\n", "some.yaml:2:5: this is not UTF-8 text; save the file as UTF-8"),
        ("a: 1\n---\nb: 2\n", "some.yaml:2:1: this is not YAML: expected a single document"),
        ("", "some.yaml:1:1: the file is empty; write at least one section, such as 'files:'"),
        ("# nothing\n", "the file is empty"),
        ("a: *b\n", "found undefined alias"),
        ("a: &b [*b]\n", "its references stand for too much, or for themselves"),
        ("a: {<<: 1}\n", "'<<' merges something that is no mapping"),
        ("[" * 30 + "]" * 30, "nested too deeply"),
        ("a: \x07\n", "some.yaml:1:4: the character U+0007 is not allowed"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(tmp_path: Path, text: str | bytes, told: str):
    with pytest.raises(WritingInvalid) as refused:
        read(tmp_path, text)
    assert told in str(refused.value)


def test_references_are_followed_but_not_to_the_end_of_memory(tmp_path: Path):
    assert read(tmp_path, "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: [*a]\n") == {
        "a": {"x": "1", "y": "2"},
        "b": {"x": "1", "y": "3"},
        "c": [{"x": "1", "y": "2"}],
    }
    laughs = "a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]\n"
    laughs += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
    with pytest.raises(WritingInvalid, match="its references stand for too much"):
        read(tmp_path, laughs)


def test_a_byte_order_mark_is_passed_over(tmp_path: Path):
    assert read(tmp_path, "\ufeffa: 1\n") == {"a": "1"}


MAPPING = """
files:
  - match: "*"
    event_id: {column: id}
    type: {when: [{column: country, equals: NO, type: roaming.norway}, {column: country, equals: 0123, type: zero}],
           otherwise: roaming.other}
    household: {column: acct, map: {no: H-no, 007: H-bond, 7: H-7, 12:30: H-half}}
    time: {column: at}
    fields:
      gb: {column: gb, type: number, absent: [no, -1]}
      plan: {column: plan, absent: [null, off]}
"""


def test_a_mapping_matches_what_stands_in_the_file(hearth: FakeHearth, run: Run):
    Path("norway.yaml").write_text(MAPPING)
    Path("a.csv").write_text(
        "id,acct,at,country,gb,plan\n"
        "1,no,2026-11-27T10:00:00Z,NO,0,off\n"
        "2,007,2026-11-27T10:01:00Z,0123,no,null\n"
        "3,7,2026-11-27T10:02:00Z,123,-1.0,on\n"
        "4,12:30,2026-11-27T10:03:00Z,false,5,False\n"
    )

    ended = run("ingest", "--mapping", "norway.yaml", "--target", hearth.address, "a.csv")

    assert ended.code == 0, ended.err
    assert [(one["household"], one["type"], one.get("gb"), one.get("plan")) for one in hearth.signals] == [
        ("H-no", "roaming.norway", 0.0, None),
        ("H-bond", "zero", None, None),
        ("H-7", "roaming.other", None, "on"),
        ("H-half", "roaming.other", 5.0, "False"),
    ]


def test_a_mapping_that_says_a_thing_twice_is_refused_with_both_lines(tmp_path: Path):
    path = tmp_path / "twice.yaml"
    path.write_text(MAPPING + "    time: {column: later}\n")
    with pytest.raises(MappingInvalid, match=r"twice.yaml:12:5: 'time' is already given in line 8"):
        load_mapping(str(path), now=datetime(2026, 1, 5, tzinfo=UTC))


def test_connectors_keep_names_and_secrets_as_they_are_written(tmp_path: Path):
    path = tmp_path / "connectors.yaml"
    path.write_text(
        "connectors:\n  - {topics: [0123, no], bootstrap: b:9092, format: protobuf, group: 12:30,\n"
        "     kafka: {sasl.password: 0777, enable.ssl.certificate.verification: true, fetch.wait.max.ms: 50}}\n"
    )
    (found,) = load_connectors(path)
    assert (found.topics, found.group) == (("0123", "no"), "12:30")
    assert found.kafka == {
        "sasl.password": "0777", "enable.ssl.certificate.verification": "true", "fetch.wait.max.ms": "50",
    }  # fmt: skip
    path.write_text("connectors:\n  - topics: [a]\n    topics: [b]\n")
    with pytest.raises(InputWrong, match=r"connectors.yaml:3:5: 'topics' is already given in line 2"):
        load_connectors(path)
