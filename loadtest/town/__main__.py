"""`python -m loadtest.town --stats`: what the town's load looks like, beside what is believable."""

import argparse
import json
import sys
from pathlib import Path

from loadtest.shipped import SHIPPED_PLAYBOOK
from loadtest.town import MONDAY_US, PlaybookMismatch, Town
from loadtest.town.believability import Believability, measure
from playbooks.compiler import compile_playbook


def as_text(found: Believability) -> str:
    """Return the statistics for people."""
    lines = [
        f"{found.signals:,} signals of {found.subscribers:,} subscribers",
        f"  {found.signals_per_subscriber_and_day:.1f} of each a day, after {found.setup_signals:,} set-up signals",
        f"  busiest at {found.peak_hour}:00",
    ]
    for name, value, least, most in found.ranges():
        verdict = "ok" if least <= value <= most else "NOT BELIEVABLE"
        lines.append(f"  {name:<42} {value:6.3f}   {least:g} to {most:g}   {verdict}")
    lines += [f"  {name:<30} {count:>12,}" for name, count in found.by_type.items()]
    return "\n".join(lines)


def main() -> int:
    """Print the statistics; exit 1 if one of them is not believable."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--stats", action="store_true", required=True, help="print what the load looks like")
    arguments.add_argument("--households", type=int, default=5_000)
    arguments.add_argument("--days", type=float, default=7.0)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--intensity", type=float, default=1.0, help="factor on what members do")
    arguments.add_argument("--playbook", type=Path, default=SHIPPED_PLAYBOOK)
    arguments.add_argument("--json", action="store_true")
    given = arguments.parse_args()
    try:
        town = Town(
            seed=given.seed,
            households=given.households,
            start_us=MONDAY_US,
            days=given.days,
            plan=compile_playbook(given.playbook),
            intensity=given.intensity,
        )
    except PlaybookMismatch as wrong:
        print(wrong, file=sys.stderr)
        return 1
    found = measure(town)
    print(json.dumps(found.as_dict()) if given.json else as_text(found))
    return 0 if all(least <= value <= most for _, value, least, most in found.ranges()) else 1


if __name__ == "__main__":
    sys.exit(main())
