"""`hearth capture` names what is wrong with a command line before it reads anything."""

import pytest


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--format", "avro"], "capture.format"),
        ([], "`mapping` says"),
        (["--mapping", "nowhere.yaml"], "there is no mapping file nowhere.yaml"),
        (["--format", "protobuf", "--kafka-settings", "nowhere.yaml"], "cannot be read from nowhere.yaml"),
    ],
)
def test_the_command_names_what_is_wrong_before_it_reads_anything(run, arguments, told):
    outcome = run("capture", "--topics", "ops", "--bootstrap", "127.0.0.1:1", "--target", "127.0.0.1:1", *arguments)

    assert outcome.code == 2
    assert told in outcome.err


def test_a_kafka_setting_that_does_not_exist_is_named(run, tmp_path):
    pytest.importorskip("confluent_kafka")
    path = tmp_path / "kafka.yaml"
    path.write_text("no.such.setting: 1")

    outcome = run(
        "capture", "--topics", "ops", "--bootstrap", "127.0.0.1:1", "--target", "127.0.0.1:1",
        "--format", "protobuf", "--kafka-settings", path,
    )  # fmt: skip

    assert outcome.code == 2
    assert "no.such.setting" in outcome.err
