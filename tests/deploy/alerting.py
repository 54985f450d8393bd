"""What Prometheus makes of pages that Hearth has shown: its own promtool evaluates the alert rules over their hour."""

import functools
import json
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client.core import Metric
from prometheus_client.openmetrics.exposition import floatToGoString

REPOSITORY = Path(__file__).resolve().parents[2]
RULES = REPOSITORY / "deploy" / "chart" / "files" / "alerts.yaml"
INSTALL_WITHIN_S = 300

STEP_S = 30
BEFORE_STEPS, AFTER_STEPS = 60, 60
"""Half an hour each: longer than any rule waits."""

Page = dict[str, float]
"""Series, as Prometheus writes them with their labels, and their values."""
GROWING = ("_total", "_count", "_sum", "_bucket")


@functools.cache
def promtool() -> str:
    """Return the path of promtool; skips where it cannot be had."""
    script = REPOSITORY / "tests" / "parts" / "install_promtool.sh"
    made = subprocess.run([script], capture_output=True, text=True, timeout=INSTALL_WITHIN_S, check=False)
    if made.returncode != 0:
        pytest.skip(f"promtool cannot be had: {made.stderr.strip().splitlines()[-1:]}")
    return made.stdout.strip()


def alerts() -> dict[str, dict]:
    """Return the rules by name."""
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def page_of(metrics: list[Metric]) -> Page:
    """Return what a page shows."""
    page = {}
    for metric in metrics:
        for sample in metric.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            page[f"{sample.name}{{{labels}}}"] = float(sample.value)
    return page


def firing(folder: Path, well: tuple[Page, Page], then: Page | None) -> list[str]:
    """Return the alerts that fire at the end of an hour.

    Half an hour things go on as between the two pages of `well`, then as between the second and `then`: at each step
    counters grow by as much again, gauges stand at the last value. None: they go on being well.
    """
    first, second = well
    then = _went_on(first, second) if then is None else then
    series = []
    for name in first.keys() | second.keys() | then.keys():
        if name.partition("{")[0].endswith(GROWING):
            start, one, other = first.get(name, 0.0), second.get(name, 0.0), then.get(name, 0.0)
            before = [start + (one - start) * step for step in range(BEFORE_STEPS)]
            after = [before[-1] + (other - one) * step for step in range(1, AFTER_STEPS)]
        else:
            before = [second.get(name)] * BEFORE_STEPS
            after = [then.get(name)] * AFTER_STEPS
        values = " ".join("_" if value is None else floatToGoString(value) for value in (*before, *after))
        series.append({"series": name, "values": values})
    at = f"{(BEFORE_STEPS + AFTER_STEPS - 2) * STEP_S}s"
    found = []
    wrong = _test(folder, series, at, dict.fromkeys(alerts(), 0))
    for name in alerts():
        if f'alertname=\\"{name}\\"' in wrong or f'alertname="{name}"' in wrong:
            found.append(name)
    return found


def _went_on(first: Page, second: Page) -> Page:
    return {
        name: second[name] * 2 - first.get(name, 0.0) if name.partition("{")[0].endswith(GROWING) else second[name]
        for name in second
    }


def _test(folder: Path, series: list[dict[str, str]], at: str, expected: dict[str, int]) -> str:
    """Return what promtool says against each alert's having fired as often as expected; empty for nothing."""
    (folder / "alerts.yaml").write_text(RULES.read_text())
    questions = [
        {
            "expr": f'sgn(count(ALERTS{{alertname="{name}",alertstate="firing"}}) or vector(0))',
            "eval_time": at,
            "exp_samples": [{"labels": "{}", "value": count}],
        }
        for name, count in expected.items()
    ]
    test = {"interval": f"{STEP_S}s", "input_series": series, "promql_expr_test": questions}
    plan = {"rule_files": ["alerts.yaml"], "evaluation_interval": f"{STEP_S}s", "tests": [test]}
    (folder / "test.yaml").write_text(json.dumps(plan))  # which is YAML as well, and written a hundred times sooner
    told = subprocess.run(
        [promtool(), "test", "rules", "test.yaml"], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert told.returncode == 0 or "FAILED" in told.stdout + told.stderr, told.stdout + told.stderr
    return told.stdout + told.stderr if told.returncode else ""
