"""Fuzz what takes input from outside: the wire, tokens, playbooks, mappings, files, records.

    python -m tests.fuzz [TARGET ...] [--seconds 600] [--seed N] [--keep FOLDER]

Each target has a process of its own for so long, with bounded memory; whatever it takes is in a file before, so a
crash or a hang leaves its input. Prints for each: inputs per second, what came of them, the longest, the memory
between the first tenth of the time and the end. Ends with 1 if anything crashed, hung, raised what nobody may see, or
grew beyond the bound; the inputs are in the folder, and `--replay FILE` takes one again.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import resource
import subprocess
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

import psutil

from tests.fuzz.mutation import Mutator
from tests.fuzz.targets import CONTROLS, TARGETS, opened

HANG_S = 20.0
"""One input that takes longer hangs; the largest takes a second on a slow machine."""
MEMORY_BYTES = 12 << 30
"""Address space; what is resident is bounded by what it may grow."""
GROWTH_BYTES_MAX = 400 << 20
FINDINGS_MAX = 20


def work(name: str, seconds: float, seed: int, keep: Path) -> int:
    """Be the process of a target: print a line each second."""
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    current = keep / f"{name}.current"
    told: Counter[str] = Counter()
    found: dict[str, str] = {}
    worst_s = said_s = 0.0
    with opened(name) as target:
        mutator = Mutator(target.seeds, seed=seed)
        for one in target.seeds:
            target.take(one)
        ends_s = time.monotonic() + seconds
        while (now_s := time.monotonic()) < ends_s and len(found) < FINDINGS_MAX:
            case = mutator.case()
            current.write_bytes(case)
            try:
                told[target.take(case)] += 1
            except Exception as wrong:  # noqa: BLE001 # whatever it is, it is the finding
                frames = traceback.extract_tb(wrong.__traceback__)
                where = next((one for one in reversed(frames) if "site-packages" not in one.filename), frames[-1])
                kind = f"{type(wrong).__name__} at {Path(where.filename).name}:{where.lineno}"
                told["raised"] += 1
                if kind not in found:
                    file = keep / f"{name}-{len(found)}"
                    file.write_bytes(case)
                    found[kind] = f"{str(wrong)[:300]!r} by {file}"
            took_s = time.monotonic() - now_s
            worst_s = max(worst_s, took_s)
            if time.monotonic() - said_s > 1.0:
                said_s = time.monotonic()
                _say(told, worst_s, found)
    _say(told, worst_s, found)
    current.unlink(missing_ok=True)
    return 0


def _say(told: Counter[str], worst_s: float, found: dict[str, str]) -> None:
    print(json.dumps({"told": told, "worst_s": round(worst_s, 3), "found": found}), flush=True)


def fuzz(name: str, seconds: float, seed: int, keep: Path, hang_s: float = HANG_S) -> bool:
    """Run a target in a process of its own; print what came of it; return whether all was well."""
    asked = ["--work", name, "--seconds", str(seconds), "--seed", str(seed), "--keep", str(keep)]
    began_s = time.monotonic()
    with (keep / f"{name}.err").open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz", *asked], stdout=subprocess.PIPE, stderr=errors, text=True
        )
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        last: dict = {"told": {}, "worst_s": 0.0, "found": {}}
        heard_s, sizes, is_hung = time.monotonic() + 300, [], False  # what it has to compile first is no hang
        while process.poll() is None:
            time.sleep(0.2)
            for line in process.stdout:
                last, heard_s = json.loads(line), time.monotonic()
            if last["told"]:
                try:
                    sizes.append(psutil.Process(process.pid).memory_info().rss)
                except psutil.NoSuchProcess:
                    break
            if time.monotonic() - heard_s > hang_s:
                is_hung = True
                process.send_signal(6)
                process.wait()
        for line in process.stdout:
            last = json.loads(line)
    count, ran_s = sum(last["told"].values()), time.monotonic() - began_s
    settled = sizes[len(sizes) // 10] if sizes else 0
    growth = (max(sizes[-5:]) if sizes else 0) - settled
    what = ", ".join(f"{word} {number:,}" for word, number in sorted(last["told"].items(), key=lambda one: -one[1]))
    mb = f"{settled >> 20} MB, at the end {growth >> 20:+} MB"
    print(f"{name:9} {count:,} inputs in {ran_s:.0f} s: {what}; the longest {last['worst_s']} s; {mb}", flush=True)
    for kind, text in last["found"].items():
        print(f"  {kind}: {text}")
    if is_hung:
        print(f"  HUNG for {hang_s:.0f} s at {keep / f'{name}.current'}; where: {keep / f'{name}.err'}")
    elif process.returncode != 0:
        print(f"  CRASHED with {process.returncode} at {keep / f'{name}.current'}; where: {keep / f'{name}.err'}")
    if growth > GROWTH_BYTES_MAX:
        print(f"  GREW by more than {GROWTH_BYTES_MAX >> 20} MB")
    return not (last["found"] or is_hung or process.returncode or growth > GROWTH_BYTES_MAX) and count > 0


def main() -> int:
    """Fuzz what is asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=Path("/tmp/hearth-fuzz"))
    parser.add_argument("--hang-s", type=float, default=HANG_S)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--replay", type=Path)
    given = parser.parse_args()
    given.keep.mkdir(parents=True, exist_ok=True)
    if given.work:
        return work(given.work, given.seconds, given.seed, given.keep)
    names = given.targets or list(TARGETS)
    if unknown := set(names) - (TARGETS | CONTROLS).keys():
        parser.error(f"there is no target {min(unknown)}; there are {', '.join(TARGETS)}")
    if given.replay:
        with opened(names[0]) as target:
            print(target.take(given.replay.read_bytes()))
        return 0
    were_well = [fuzz(name, given.seconds, given.seed, given.keep, given.hang_s) for name in names]
    return 0 if all(were_well) else 1


if __name__ == "__main__":
    sys.exit(main())
