"""Run `hearth demo` and draw what it said as docs/demo.svg: the picture in the README is a demo that really ran."""

import io
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

PICTURE = Path(__file__).with_name("demo.svg")
WIDTH = 118


def main() -> int:
    """Return 0 once the picture is drawn, or what the demo ended with."""
    demo = [sys.executable, "-m", "cluster.cli", "demo"]
    said = subprocess.run(demo, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if said.returncode != 0:
        print(said.stdout, file=sys.stderr)
        return said.returncode
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    console.print(Text("$ make demo", style="bold"))
    for line in said.stdout.splitlines():
        console.print(styled(line), overflow="fold")
    svg = console.export_svg(title="make demo")
    # No font is fetched from anywhere: the viewer's own monospace will do.
    svg = re.sub(r"@font-face \{.*?\}\s*|<!--.*?-->", "", svg, flags=re.DOTALL)
    PICTURE.write_text(svg)
    print(f"{PICTURE.name}: {len(said.stdout.splitlines())} lines")
    return 0


def styled(line: str) -> Text:
    """Colour what a reader should see first."""
    if line.lstrip().startswith("->"):
        return Text(line, style="green")
    if line.startswith(("signals ", "decisions ", "Decide ", "model ", "S1,", "Why,")):
        return Text(line, style="bold cyan")
    return Text(line)


if __name__ == "__main__":
    sys.exit(main())
