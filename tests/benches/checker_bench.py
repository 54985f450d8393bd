"""What the check of playbooks finds: playbooks with one mistake each, sound ones, and how long it takes.

    python -m tests.benches.checker_bench [--mutated 300] [--good 50]

Prints each mistake that was not told where it was made, each false alarm, and at the end one line of JSON.
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from pathlib import Path

from loadtest.shipped import SHIPPED_PLAYBOOK
from playbooks.compiler import examine
from tests.playbooks.mutations import harmless, is_found, new_alarms, read, said_of, some_of, told_of
from tests.playbooks.mutations_of_journeys import all_mutated

TIMES = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutated", type=int, default=300)
    parser.add_argument("--good", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    files = read(SHIPPED_PLAYBOOK)
    mutated = some_of(all_mutated(files), options.mutated, seed=options.seed)
    made, missed, alarms = Counter(one.kind for one in mutated), Counter[str](), 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        known = said_of(files, folder)
        for one in mutated:
            told = told_of(one.files, folder, one.before)
            if not is_found(one, told, known):
                missed[one.kind] += 1
                print(f"not found: {one.kind}: {one.file}:{one.lines.start}: {one.written.strip()}\n    {told[:3]}")
        for seed in range(options.good):
            found = new_alarms(told_of(harmless(files, seed), folder), known)
            alarms += bool(found)
            for text in found:
                print(f"alarm: {seed}: {text}")
    took_s = []
    for _ in range(TIMES):
        began_s = time.process_time()
        examine(SHIPPED_PLAYBOOK)
        took_s.append(time.process_time() - began_s)
    print(
        json.dumps(
            {
                "kinds": len(made),
                "mutated": len(mutated),
                "found_percent": round(100 * (1 - missed.total() / len(mutated)), 2),
                "good": options.good,
                "false_alarms": alarms,
                "check_of_the_shipped_playbook_s": round(sorted(took_s)[TIMES // 2], 3),
            }
        )
    )


if __name__ == "__main__":
    main()
