"""The chart as helm renders it for tests/deploy/values.yaml, committed in rendered.yaml so that its laws need no helm.

    .venv/bin/python -m tests.deploy.chart

renders it anew (make chart). Its first line names the digest of what it was made of: who changes the chart and does not
render it is found without helm, who renders something else by the suite that has it (make test-deploy).
"""

import functools
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
CHART = REPOSITORY / "deploy" / "chart"
VALUES = Path(__file__).with_name("values.yaml")
RENDERED = Path(__file__).with_name("rendered.yaml")
RELEASE, KUBERNETES = "house", "1.33.0"
INSTALL_WITHIN_S = 1_500

Manifest = dict[str, Any]


def digest() -> str:
    """Return a digest of the chart and of the values."""
    whole = hashlib.sha256()
    for path in [VALUES, *sorted(one for one in CHART.rglob("*") if one.is_file())]:
        whole.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return whole.hexdigest()[:32]


def manifests() -> list[Manifest]:
    """Return the committed manifests."""
    return [one for one in yaml.safe_load_all(RENDERED.read_text()) if one]


def of_kind(kind: str) -> list[Manifest]:
    return [one for one in manifests() if one["kind"] == kind]


@functools.cache
def kube_tools() -> Path:
    """Return the folder of helm, kubeconform and the schemas; skips where they cannot be had."""
    script = REPOSITORY / "tests" / "parts" / "install_kube_tools.sh"
    made = subprocess.run(
        [script],
        capture_output=True,
        text=True,
        timeout=INSTALL_WITHIN_S,
        check=False,
        env={**os.environ, "UV": str(Path(sys.executable).with_name("uv"))},
    )
    if made.returncode != 0:
        pytest.skip(f"helm and kubeconform cannot be had: {made.stderr.strip().splitlines()[-1:]}")
    return Path(made.stdout.strip().splitlines()[-1])


def helm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run helm to its end."""
    command = [kube_tools() / "bin" / "helm", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def rendered(*more: str) -> str:
    """Return what helm makes of the chart.

    Raises:
        AssertionError: nothing; what helm said.
    """
    made = helm("template", RELEASE, CHART, "--kube-version", KUBERNETES, "--values", VALUES, *more)
    assert made.returncode == 0, made.stderr
    # helm leaves blanks behind labels; the repository has none.
    return "\n".join(line.rstrip() for line in made.stdout.splitlines()) + "\n"


def main() -> None:
    RENDERED.write_text(f"# {digest()}: by `make chart` from deploy/chart and tests/deploy/values.yaml.\n{rendered()}")


if __name__ == "__main__":
    main()
