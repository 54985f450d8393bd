"""Contact rules against the judge for as long as one likes: a million operations, and what weighing costs.

    python -m tests.benches.contact_rules_bench [--operations N] [--seed N]

Plays every kind of rule in every scope in turn, each time with others drawn beside it, until so many operations are
done (tests/household/contact_world.py). Prints JSON; exit code 1 where the judge found anything.
"""

import argparse
import json
import sys
import time
from random import Random

from tests.household.contact_world import KINDS, SCOPES, play, rule_of

STEPS = 400
"""Operations under one set of rules."""


def run(operations: int, seed: int) -> dict[str, object]:
    began, done, turn = time.perf_counter(), 0, 0
    told = {"hand_overs": 0, "waits": 0, "notes": 0, "answers": 0}
    findings: list[str] = []
    while done < operations:
        chance = Random(seed * 1_000_003 + turn)
        kind, scope = KINDS[turn % len(KINDS)], SCOPES[turn // len(KINDS) % len(SCOPES)]
        rules = [rule_of(kind, scope, chance)]
        for number in range(chance.randrange(4)):
            rules.append(rule_of(chance.choice(KINDS), chance.choice(SCOPES), chance, name=f"other_{number}"))
        counts = play(rules, chance.randrange(2**31), STEPS)
        done, turn = done + counts.operations, turn + 1
        for name in told:
            told[name] += getattr(counts, name)
        findings += [f"seed {seed}, turn {turn - 1}: {one}" for one in counts.findings]
    took_s = round(time.perf_counter() - began, 1)
    return {"operations": done, **told, "findings": len(findings), "first": findings[:5], "took_s": took_s}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--operations", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    found = run(arguments.operations, arguments.seed)
    print(json.dumps(found, indent=2))
    return 1 if found["findings"] else 0


if __name__ == "__main__":
    sys.exit(main())
