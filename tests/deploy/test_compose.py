"""Laws of the compose stack, part by part: what Hearth is told is a configuration that holds; what one part asks of
another is there; everything is published on loopback alone; files that are mounted exist.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from actors.log.kafka_url import kafka_settings
from cluster.config import HearthConfig, load_config
from tests.deploy.image import WRITABLE, stages

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
STACK: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = STACK["services"]


def config() -> HearthConfig:
    told = {
        name.removeprefix("HEARTH_").lower(): re.sub(r"\$\{POSTGRES_PASSWORD[^}]*\}", "secret", value)
        for name, value in SERVICES["hearth"]["environment"].items()
    }
    return load_config(**told)


def test_every_variable_is_a_setting_and_together_they_hold():
    known = {f"HEARTH_{name.upper()}" for name in HearthConfig.model_fields}
    assert SERVICES["hearth"]["environment"].keys() <= known
    assert config().metrics_port == 9464


def test_hearth_asks_the_broker_and_the_database_of_the_stack():
    kafka = kafka_settings(str(config().log))
    assert kafka.bootstrap == "kafka:9092"
    assert "PLAINTEXT://kafka:9092" in SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert kafka.replication_factor == 1
    database = SERVICES["postgresql"]["environment"]
    url = f"postgresql+psycopg://{database['POSTGRES_USER']}:secret@postgresql:5432/{database['POSTGRES_DB']}"
    assert config().metadata_url == url
    assert set(SERVICES["hearth"]["depends_on"]) == {"kafka", "postgresql"}
    assert all("healthcheck" in SERVICES[name] for name in SERVICES["hearth"]["depends_on"])


def test_what_is_published_is_on_loopback_and_hearth_says_twice_that_it_is_plain():
    for name, service in SERVICES.items():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name
    assert SERVICES["hearth"]["ports"] == ["127.0.0.1:7077:7077"]
    assert config().plaintext_host == config().host == "0.0.0.0"


def test_hearth_writes_where_the_image_lets_it_and_nowhere_else():
    hearth = SERVICES["hearth"]
    assert hearth["read_only"] is True
    assert hearth["cap_drop"] == ["ALL"]
    mounted = {one.rpartition(":")[2] for one in hearth["volumes"]} | {one.partition(":")[0] for one in hearth["tmpfs"]}
    assert mounted == set(WRITABLE)
    build = hearth["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).is_file()
    assert {one.partition(":")[0] for one in hearth["volumes"]} <= STACK["volumes"].keys()


def test_every_file_that_is_mounted_is_there_and_every_volume_is_declared():
    for name, service in SERVICES.items():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).exists(), f"{name}: {source}"
            else:
                assert source in STACK["volumes"], f"{name}: {source}"


def test_prometheus_scrapes_the_port_of_the_metrics_and_loads_the_rules_that_are_mounted():
    told = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text())
    (job,) = told["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"hearth:{config().metrics_port}"]}]
    mounts = dict(one.split(":")[:2] for one in SERVICES["prometheus"]["volumes"] if one.startswith("."))
    assert told["rule_files"] == [mounts["./chart/files/alerts.yaml"]]
    assert f"--config.file={mounts['./prometheus/prometheus.yaml']}" in SERVICES["prometheus"]["command"]


def test_grafana_finds_prometheus_and_the_dashboards():
    (source,) = yaml.safe_load((DEPLOY / "grafana" / "datasources.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((DEPLOY / "grafana" / "dashboards.yaml").read_text())["providers"]
    mounts = dict(one.split(":")[:2] for one in SERVICES["grafana"]["volumes"] if one.startswith("."))
    assert provider["options"]["path"] == mounts["./chart/files/dashboards"]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_image_is_pinned(name: str):
    image = SERVICES[name]["image"]
    assert not image.endswith(":latest")
    assert re.search(r":v?\d", image)


def test_the_file_names_the_version_of_the_chart():
    chart = yaml.safe_load((DEPLOY / "chart" / "Chart.yaml").read_text())
    assert SERVICES["hearth"]["image"] == f"hearth:{chart['appVersion']}"
    assert stages()[1].environment["HEARTH_DATA_DIR"] == "/data"
