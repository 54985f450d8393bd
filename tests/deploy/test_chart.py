"""Laws of the chart: what it renders is what Hearth, its image and its page of ports know; every pod is shut in; what
is ready in Kubernetes is what Hearth means by ready; helm lints it and refuses what cannot work; schemas of Kubernetes,
KubeRay and the Prometheus operator accept it, and refuse it once a field is misspelt.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from cluster.config import HearthConfig
from serving.edge_config import EdgeConfig
from serving.ingress import serve_environment
from tests.deploy.chart import CHART, KUBERNETES, RENDERED, VALUES, digest, helm, kube_tools, of_kind, rendered
from tests.deploy.image import WRITABLE

PORTS = {"gcs-server": 6379, "grpc": 7077, "metrics": 9464, "raylet": 6380}
CORE = (
    "service-v1", "configmap-v1", "persistentvolumeclaim-v1", "poddisruptionbudget-policy-v1",
    "networkpolicy-networking-v1",
)  # fmt: skip
DEPLOY = pytest.mark.deploy


def pods() -> list[tuple[str, dict[str, Any]]]:
    (ray,) = of_kind("RayCluster")
    groups = {"head": ray["spec"]["headGroupSpec"]} | {one["groupName"]: one for one in ray["spec"]["workerGroupSpecs"]}
    return [(name, group["template"]) for name, group in groups.items()]


def containers() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    for _, pod in pods():
        for container in pod["spec"]["containers"]:
            yield container["name"], container, pod


def environment(container: dict[str, Any]) -> dict[str, str | None]:
    return {one["name"]: one.get("value") for one in container["env"]}


def test_what_is_committed_was_rendered_from_the_chart_as_it_is():
    assert RENDERED.read_text().startswith(f"# {digest()}:"), "run `make chart`"


def test_every_setting_in_it_is_one_of_hearths():
    known = {f"HEARTH_{name.upper()}" for name in HearthConfig.model_fields}
    for name, container, _ in containers():
        ours = {one for one in environment(container) if one.startswith("HEARTH_")}
        assert ours <= known, name


def test_what_the_launcher_is_told_is_a_configuration_that_holds():
    (container,) = [one for name, one, _ in containers() if name == "hearth"]
    told = {
        name.removeprefix("HEARTH_").lower(): (value or "").replace("$(POD_IP)", "10.0.0.7")
        for name, value in environment(container).items()
        if name.startswith("HEARTH_")
    }
    secret = [one["name"] for one in container["env"] if "secretKeyRef" in one.get("valueFrom", {})]
    assert secret == ["RAY_AUTH_TOKEN", "HEARTH_METADATA_URL"]
    config = HearthConfig(**told | {"metadata_url": "postgresql+psycopg://h:p@db:5432/hearth"})

    assert config.ray_address == "10.0.0.7:6379"
    assert (config.shard_count, config.spare_shard_count, config.partition_count) == (4, 1, 64)
    assert config.lease_term_s == 5.0
    assert config.tls is not None
    assert config.tls.client_ca is not None
    assert str(config.access) == "/etc/hearth/access/access.yaml"


def test_a_slot_is_there_for_every_shard_and_spare():
    (ray,) = of_kind("RayCluster")
    groups = [(1, ray["spec"]["headGroupSpec"]), *((one["replicas"], one) for one in ray["spec"]["workerGroupSpecs"])]
    # Quoted twice, as KubeRay passes it through a shell.
    slots = sum(
        count * json.loads(json.loads(group["rayStartParams"]["resources"]))["shard_slot"] for count, group in groups
    )
    assert slots >= 4 + 1


def test_every_ray_process_has_what_serve_and_the_token_need():
    demanded = serve_environment(EdgeConfig())
    for name, container, _ in containers():
        assert demanded.items() <= environment(container).items(), name
        assert environment(container)["RAY_AUTH_MODE"] == "token"
        (token,) = [one for one in container["env"] if one["name"] == "RAY_AUTH_TOKEN"]
        assert token["valueFrom"]["secretKeyRef"]["name"] == "hearth-ray"


def test_no_secret_is_in_any_manifest():
    assert of_kind("Secret") == []
    assert not re.search(r"://[^/\s:@]+:[^@\s]+@", RENDERED.read_text())


def test_every_container_is_shut_in():
    for name, container, pod in containers():
        security = container["securityContext"]
        assert security["runAsNonRoot"] is True, name
        assert security["runAsUser"] == 10001
        assert security["readOnlyRootFilesystem"] is True
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert "hostNetwork" not in pod["spec"]


def test_no_pod_has_an_account_but_the_one_that_asks_for_workers():
    (ray,) = of_kind("RayCluster")
    assert ray["spec"]["enableInTreeAutoscaling"] is True
    has_one = {name: pod["spec"]["automountServiceAccountToken"] for name, pod in pods()}
    assert has_one == {"head": True, "shards": False}


def test_rays_autoscaler_knows_the_token_is_shut_in_and_may_add_workers_with_slots():
    (ray,) = of_kind("RayCluster")
    options, (head,) = ray["spec"]["autoscalerOptions"], [one for name, one, _ in containers() if name == "ray-head"]
    assert options["env"] == head["env"]
    assert options["volumeMounts"] == head["volumeMounts"]
    assert options["securityContext"] == head["securityContext"]
    (workers,) = ray["spec"]["workerGroupSpecs"]
    assert (workers["minReplicas"], workers["replicas"], workers["maxReplicas"]) == (2, 2, 6)
    assert json.loads(json.loads(workers["rayStartParams"]["resources"]))["shard_slot"] > 0
    (policy,) = of_kind("NetworkPolicy")
    ports = [{port["port"] for port in rule.get("ports", ())} for rule in policy["spec"]["egress"]]
    assert {443, 6443} in ports


def test_what_the_image_writes_to_is_mounted_and_every_mount_has_its_volume():
    for name, container, pod in containers():
        mounts = {one["mountPath"] for one in container["volumeMounts"]}
        assert set(WRITABLE) <= mounts, name
        assert {one["name"] for one in container["volumeMounts"]} <= {one["name"] for one in pod["spec"]["volumes"]}
        for variable, value in environment(container).items():
            if value is not None and value.startswith("/"):
                assert any(value.startswith(mount) for mount in mounts), (name, variable)


def test_every_port_is_a_known_one_and_services_lead_to_the_container_that_listens():
    for name, container, _ in containers():
        for port in container.get("ports", ()):
            assert PORTS[port["name"]] == port["containerPort"], name
    (config,) = [one for name, one, _ in containers() if name == "hearth"]
    told = environment(config)
    assert (told["HEARTH_PORT"], told["HEARTH_METRICS_PORT"]) == ("7077", "9464")
    (head,) = [pod for name, pod in pods() if name == "head"]
    offered = {port["name"] for one in head["spec"]["containers"] for port in one.get("ports", ())}
    for service in of_kind("Service"):
        assert service["spec"]["selector"].items() <= head["metadata"]["labels"].items()
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= offered


def test_ready_is_what_hearth_means_by_it_and_alive_asks_for_less():
    (container,) = [one for name, one, _ in containers() if name == "hearth"]
    assert container["readinessProbe"]["exec"]["command"] == ["hearth", "status"]
    alive = container["livenessProbe"]
    assert alive["tcpSocket"]["port"] == 7077
    # A run that fell is followed by the next within a minute (README, How long nobody answers).
    assert alive["periodSeconds"] * alive["failureThreshold"] >= 120
    started = container["startupProbe"]
    assert started["periodSeconds"] * started["failureThreshold"] >= 300


def test_the_policy_lets_gateways_to_the_public_port_prometheus_to_the_metrics_and_nobody_to_rays_ports():
    (policy,) = of_kind("NetworkPolicy")
    own, *others = policy["spec"]["ingress"]
    for _, pod in pods():
        assert policy["spec"]["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert "ports" not in own
    assert own["from"] == [{"podSelector": policy["spec"]["podSelector"]}]
    assert [[port["port"] for port in one["ports"]] for one in others] == [[7077], [9464]]
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]


def test_one_pod_may_be_taken_at_a_time():
    (budget,) = of_kind("PodDisruptionBudget")
    assert budget["spec"]["maxUnavailable"] == 1
    for _, pod in pods():
        assert budget["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()


def test_prometheus_finds_the_service_the_rules_and_grafana_the_dashboards():
    (monitor,) = of_kind("ServiceMonitor")
    (service,) = [one for one in of_kind("Service") if one["spec"]["ports"][0]["name"] == "metrics"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (rules,) = of_kind("PrometheusRule")
    assert rules["spec"] == yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
    (boards,) = of_kind("ConfigMap")
    assert {name: json.loads(text) for name, text in boards["data"].items()} == {
        path.name: json.loads(path.read_text()) for path in (CHART / "files" / "dashboards").glob("*.json")
    }


def test_every_value_is_used_and_every_value_that_is_used_is_there():
    def paths(values: dict[str, Any], above: str = "") -> Iterator[str]:
        for name, value in values.items():
            path = f"{above}.{name}" if above else name
            yield path
            if isinstance(value, dict):
                yield from paths(value, path)

    texts = "".join(path.read_text() for path in (CHART / "templates").iterdir())
    used = set(re.findall(r"\.Values\.([A-Za-z.]+)", texts))
    there = set(paths(yaml.safe_load((CHART / "values.yaml").read_text())))
    assert used <= there
    leaves = {path for path in there if not any(other.startswith(f"{path}.") for other in there)}
    assert {path for path in leaves if not any(path == one or path.startswith(f"{one}.") for one in used)} == set()


def test_values_are_checked_and_what_is_misspelt_is_refused():
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    jsonschema.validate(values, schema)
    jsonschema.validate(yaml.safe_load(VALUES.read_text()), schema)
    for wrong in ({"shrads": 3}, {"kafka": {"bootstrap": "no port"}}, {"tls": {"secrets": "x"}}, {"shards": 0}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


# --- with helm and kubeconform ---------------------------------------------------------------------------------------


@DEPLOY
def test_helm_renders_what_is_committed_and_finds_nothing_wrong():
    assert RENDERED.read_text().partition("\n")[2] == rendered()
    told = helm("lint", CHART, "--strict", "--values", VALUES)
    assert told.returncode == 0, told.stdout + told.stderr


@DEPLOY
@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("kafka.bootstrap=", "kafka.bootstrap is empty"),
        ("postgresql.secret=", "postgresql.secret is empty"),
        ("ray.tokenSecret=", "ray.tokenSecret is empty"),
        ("tls.secret=", "tls.secret is empty"),
        ("tls.probeSecret=", "the readiness probe needs a certificate"),
        ("tls.clients=false,tls.probeSecret=", "access.probeTokenSecret"),
        ("networkPolicy.enabled=false,ray.tlsSecret=", "name ray.tlsSecret"),
        ("shards=12", "5 slots"),
        ("partitions=2", "shards exceeds partitions"),
        ("workers.maxReplicas=2", "there is no worker that could be added"),
        ("nonsense=1", "nonsense"),
    ],
)
def test_what_cannot_work_is_refused_with_what_to_do(wrong: str, told: str):
    said = helm("template", "house", CHART, "--kube-version", KUBERNETES, "--values", VALUES, "--set", wrong)
    assert said.returncode != 0
    assert told in said.stderr


def strict(schema: Any) -> Any:
    """Return a CRD's schema that takes no field it does not know, as an API server does that is asked to be strict."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: strict(value) for name, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string"):
        made = {name: value for name, value in made.items() if name != "type"}
    return made


def schemas(folder: Path) -> list[str]:
    """Write the CRDs' schemas as kubeconform looks for them; return its options."""
    tools = kube_tools()
    for path in (tools / "crds").glob("*.yaml"):
        crd = yaml.safe_load(path.read_text())
        for version in crd["spec"]["versions"]:
            schema = strict(version["schema"]["openAPIV3Schema"])
            schema["properties"] |= {"apiVersion": {"type": "string"}, "kind": {"type": "string"}}
            schema["properties"]["metadata"] = {"type": "object"}
            name = f"{crd['spec']['names']['kind'].lower()}-{crd['spec']['group'].partition('.')[0]}-{version['name']}"
            (folder / f"{name}.json").write_text(json.dumps(schema))
    core = tools / "schemas" / "kubernetes_validate" / "kubernetes-json-schema" / f"v{KUBERNETES}-local-strict"
    for name in ("_definitions", *CORE):
        # Where they lie here: they refer to a server.
        text = (
            (core / f"{name}.json").read_text().replace("/api/_definitions.json", f"file://{folder}/_definitions.json")
        )
        (folder / f"{name}.json").write_text(text)
    return ["-schema-location", f"{folder}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"]


def conforms(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    command = [str(kube_tools() / "bin" / "kubeconform"), "-strict", "-summary", *schemas(folder), "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)


@DEPLOY
def test_the_schemas_accept_it(tmp_path: Path):
    text = RENDERED.read_text()
    if not (kube_tools() / "crds" / "monitoring.coreos.com_servicemonitors.yaml").exists():
        text = rendered("--set", "metrics.serviceMonitor.enabled=false,metrics.rules.enabled=false")
    told = conforms(tmp_path, text)
    print("KubeRay", (kube_tools() / "kuberay-version").read_text().strip(), told.stdout.strip().splitlines()[-1])
    assert told.returncode == 0, told.stdout + told.stderr
    assert "Skipped: 0" in told.stdout


@DEPLOY
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("headGroupSpec:", "headGroupSpecs:"),
        ("rayStartParams:", "rayStartParam:"),
        ("readinessProbe:", "readynessProbe:"),
        ("maxUnavailable: 1", "maxUnavailble: 1"),
        ("policyTypes:", "policyType:"),
        ("matchLabels:", "matchLabel:"),
        ("targetPort:", "targetport:"),
        ("replicas: 2", "replicas: two"),
    ],
)
def test_the_schemas_refuse_what_is_misspelt(tmp_path: Path, right: str, wrong: str):
    text = RENDERED.read_text()
    assert right in text
    assert conforms(tmp_path, text.replace(right, wrong)).returncode != 0
