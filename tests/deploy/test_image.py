"""Laws of the container file: what it copies is what is shipped; what it installs is the part of the lock that Hearth
needs to run, whole; it runs as nobody in particular and says what is healthy. Its steps, carried out in a scratch root,
give a Hearth that comes up as that user, writes only where it may, and is healthy.
"""

import json
import os
import re
import subprocess
import time
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from deploy.runtime_requirements import runtime_requirements
from tests.deploy.image import REPOSITORY, WRITABLE, below, carry_out, json_form, stages

NOT_NEEDED = ("pytest", "mypy", "ruff", "hypothesis", "k6", "grpcio-tools", "import-linter", "buf-bin")
READY_WITHIN_S = 180.0


@pytest.fixture(scope="module")
def runtime() -> str:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    return runtime_requirements((REPOSITORY / "requirements.lock").read_text(), project)


def names(lock: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+)==", lock.replace(".", "-"), re.MULTILINE))


def test_the_runtime_part_of_the_lock_is_whole_and_has_nothing_of_the_tests(runtime: str):
    found = names(runtime)
    assert {"ray", "confluent-kafka", "psycopg", "psycopg-binary", "prometheus-client"} <= found
    assert found.isdisjoint(NOT_NEEDED)
    for name in found:
        try:
            wanted = [Requirement(one) for one in requires(name) or ()]
        except ImportError:
            continue  # of another platform
        for one in wanted:
            if one.marker is None or one.marker.evaluate({"extra": ""}):
                assert one.name.lower().replace("_", "-").replace(".", "-") in found, f"{name} needs {one}"


def test_every_entry_stands_there_as_in_the_lock(runtime: str):
    lock = (REPOSITORY / "requirements.lock").read_text()
    for entry in re.split(r"\n(?=[a-z0-9])", runtime.rstrip("\n")):
        assert entry in lock
        assert "--hash=sha256:" in entry


def test_a_dependency_that_the_lock_lacks_is_named(runtime: str):
    project = {"dependencies": ["nobody>=1"], "optional-dependencies": {"kafka": [], "postgresql": []}}
    with pytest.raises(SystemExit, match="lacks nobody"):
        runtime_requirements("aiohttp==1 \\\n    --hash=sha256:0\n", project)


def test_it_copies_what_is_shipped_and_the_ignore_file_lets_that_through():
    build, _ = stages()
    wheel = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    copied = {source for rest in build.all("COPY") for source in rest.split()[:-1]}
    assert {name.partition("/")[0] for name in wheel["packages"]} <= copied
    let = re.findall(r"^!(.*)$", (REPOSITORY / "deploy" / "Containerfile.dockerignore").read_text(), re.MULTILINE)
    assert set(let) == copied


def test_it_runs_as_nobody_in_particular_and_is_healthy_when_ready():
    _, final = stages()
    assert final.only("USER") == "10001:10001"
    assert json_form(final.only("ENTRYPOINT")) == ["hearth"]
    assert json_form(final.only("HEALTHCHECK").partition(" CMD ")[2]) == ["hearth", "status"]
    assert tuple(json_form(final.only("VOLUME"))) == WRITABLE
    assert final.only("EXPOSE") == "7077 9464"


@pytest.mark.deploy
@pytest.mark.timeout(1_500)
def test_its_steps_give_a_hearth_that_comes_up_as_that_user_on_a_root_that_it_cannot_write(tmp_path_factory):
    if os.getuid() != 0:
        pytest.skip("only root can become the image's user")
    # Every user has to be let through to it, and sockets lie below it: a long path would leave them no room.
    root = Path("/tmp") / f"hi-{os.getpid()}"
    root.mkdir(mode=0o755)
    try:
        final = carry_out(root)
        for place in WRITABLE:
            os.chown(root / place.lstrip("/"), 10001, 10001)
        environment = {name: below(root, value) for name, value in final.environment.items()}
        as_user = ["setpriv", "--reuid=10001", "--regid=10001", "--clear-groups", "--no-new-privs"]
        hearth = [*as_user, str(root / "usr/local/bin/hearth")]
        base = environment | {"TMPDIR": str(root / "tmp")}

        told = subprocess.run([*hearth, "--help"], env=base, capture_output=True, text=True, timeout=120, check=False)
        assert told.returncode == 0, told.stderr
        assert not (root / "opt/hearth/bin/pytest").exists()
        spoilt = subprocess.run([*as_user, "touch", str(root / "opt/hearth/x")], capture_output=True, check=False)
        assert spoilt.returncode != 0

        running = subprocess.Popen(
            [*hearth, *json_form(final.only("CMD")), "--port", "0"], env=base, cwd=root / "tmp",
            stdout=subprocess.DEVNULL, stderr=(log := (root / "tmp/up.log").open("w")),
        )  # fmt: skip
        check = json_form(final.only("HEALTHCHECK").partition(" CMD ")[2])[1:]
        try:
            deadline_s = time.monotonic() + READY_WITHIN_S
            healthy = subprocess.run([*hearth, *check, "--json"], env=base, capture_output=True, text=True, check=False)
            while healthy.returncode != 0:
                assert running.poll() is None, (root / "tmp/up.log").read_text()
                assert time.monotonic() < deadline_s, (root / "tmp/up.log").read_text()
                time.sleep(1.0)
                healthy = subprocess.run(
                    [*hearth, *check, "--json"], env=base, capture_output=True, text=True, check=False
                )
            assert json.loads(healthy.stdout)["health"] == "ready"
        finally:
            running.terminate()
            running.wait(60)
            log.close()
        written = {path.relative_to(root).parts[0] for path in root.rglob("*") if path.lstat().st_uid == 10001}
        assert written <= {"data", "tmp", "var"}
    finally:
        subprocess.run(["rm", "-rf", str(root)], check=False)
