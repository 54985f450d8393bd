"""Laws: options before variables before defaults; each relation between settings has a test that breaks it."""

from pathlib import Path

import pytest

from cluster.config import HearthConfig, load_config, unknown_variables
from cluster.errors import UsageWrong
from serving.edge_config import EdgeConfig
from wire.addresses import host_is_loopback


def test_an_option_goes_before_a_variable_and_a_variable_before_the_default(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HEARTH_PORT", "7100")
    monkeypatch.setenv("HEARTH_DATA_DIR", "/x/data")

    config = load_config(port=7200, data_dir=None)

    assert (config.port, config.data_dir, config.shard_count) == (7200, Path("/x/data"), 2)


def test_defaults_bind_loopback_and_run_the_shipped_playbook():
    config = load_config()

    assert config.is_loopback
    assert config.playbook_path.name == "telco"
    assert config.playbook_path.is_dir()
    assert config.model_path == config.data_dir / "models"
    assert config.otel_endpoint is None
    assert not config.reflection


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"shard_count": 9, "partition_count": 8}, "shard_count 9 exceeds partition_count 8"),
        ({"host": "0.0.0.0"}, "has no TLS; set tls_certificate and tls_key"),
        ({"host": "0.0.0.0", "allow_plaintext": True}, "set allow_plaintext to true and plaintext_host to 0.0.0.0"),
        ({"host": "0.0.0.0", "plaintext_host": "0.0.0.0"}, "set allow_plaintext to true"),
        ({"host": "0.0.0.0", "allow_plaintext": True, "plaintext_host": "10.0.0.1"}, "plaintext_host to 0.0.0.0"),
        ({"host": "0.0.0.0", "tls_certificate": "x", "tls_key": "x"}, "nobody is asked who he is; set access"),
        ({"access": "x", "reflection": True}, "reflection tells everybody the whole interface"),
        ({"tls_certificate": "x"}, "tls_certificate and tls_key belong together"),
        ({"tls_client_ca": "x"}, "set tls_certificate and tls_key, too"),
        ({"tls_certificate": "x", "tls_key": "x", "tls_revoked": "x"}, "set that, too"),
        ({"scoring_slice_ms": 600.0}, "scoring_slice_ms 600.0 exceeds half of decide_deadline_ms 1000.0"),
        ({"ray_address": "a:1"}, "the embedded log is for one node only"),
        ({"ray_address": "a:1", "log": "/x/log"}, "the embedded log is for one node only"),
        ({"ray_address": "a:1", "log": "kafka://b:1/x"}, "SQLite is for one node only"),
        ({"ray_address": "a:1", "log": "kafka://b:1/x", "metadata_url": "sqlite:///x"}, "SQLite is for one node only"),
        (
            {"ray_address": "a:1", "log": "kafka://b:1/x", "metadata_url": "postgresql://"},
            "ray_address needs snapshots",
        ),
        ({"port": 70_000}, "setting port (variable HEARTH_PORT) is 70000"),
        ({"clock": "sundial"}, "setting clock (variable HEARTH_CLOCK) is 'sundial'"),
    ],
)
def test_settings_that_cannot_be_together_are_told(settings: dict[str, object], told: str):
    with pytest.raises(UsageWrong, match=r".") as wrong:
        load_config(**settings)
    assert told in str(wrong.value)


def test_plaintext_beyond_this_machine_is_permitted_by_saying_it_twice():
    twice = load_config(host="10.0.0.1", allow_plaintext=True, plaintext_host="10.0.0.1")
    with_tls = load_config(host="10.0.0.1", tls_certificate="c.pem", tls_key="k.pem", access="access.yaml")

    assert twice.is_plaintext_permitted
    assert twice.tls is None
    assert with_tls.tls is not None
    assert with_tls.tls.key.is_absolute()
    for config in (twice, with_tls):
        EdgeConfig(host=config.host, port=1, tls=config.tls, is_plaintext_permitted=config.is_plaintext_permitted)
    with pytest.raises(AssertionError, match="no TLS"):
        EdgeConfig(host="10.0.0.1", port=1)


def test_a_variable_that_is_no_setting_is_found(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HEARTH_PROT", "7100")
    monkeypatch.setenv("HEARTH_SHARED", "/x")

    assert "HEARTH_PROT" in unknown_variables()
    assert "HEARTH_SHARED" not in unknown_variables()


def test_settings_never_change():
    with pytest.raises(ValueError, match="frozen"):
        load_config().port = 1  # type: ignore[misc]


def test_every_setting_says_what_it_means():
    for name, field in HearthConfig.model_fields.items():
        assert field.description, name


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("example.org", False),
    ],
)
def test_loopback_is_this_machine_alone(host: str, is_loopback: bool):
    assert host_is_loopback(host) is is_loopback
