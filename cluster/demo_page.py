"""The demo's page for a meeting: `hearth report` over what the town did, kept where it can be opened."""

import importlib.util
import tempfile
from pathlib import Path
from typing import Final

from cluster.children import child

REPORT_MODULE: Final = "cluster.cli"
NEEDED: Final = ("jinja2", "matplotlib")
"""What the extra `report` brings."""
PAGE_NAME: Final = "hearth-demo-report.html"


def written_page(data_dir: Path) -> Path | None:
    """Write the page about a data directory; return where, None where it cannot be written."""
    if any(importlib.util.find_spec(name) is None for name in NEEDED):
        return None
    file = Path(tempfile.gettempdir()) / PAGE_NAME
    with child(REPORT_MODULE, ["report", "--data-dir", str(data_dir), "--out", str(file), "--json"]) as writing:
        for _ in writing.lines():
            pass
        code = writing.process.wait()
    return file if code == 0 else None


def page_lines(page: Path | None) -> list[str]:
    """Return where it is, for people."""
    if page is None:
        return ["no page for a meeting was written: `pip install 'hearth[report]'`, and `hearth report` says why not"]
    return [f"the page for a meeting, of what the town did: {page}"]
