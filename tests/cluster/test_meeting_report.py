"""Laws: `hearth report` writes one page that needs nothing else and names nobody; its numbers are those of the log; a
browser shows all of it, on a screen and on paper, and asks nothing of any network.
"""

import re
import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.cluster.conftest import Run
from tests.cluster.test_measuring import DEFINITIONS, HOUSEHOLDS, WITH_CONTROL, a_log, data_dir, plan_of, with_log

assert data_dir, "the fixture of the log's folder is shared"

SECTIONS = ("verdicts", "uplift", "funnels", "kpis", "contacts", "limits", "products", "places")
BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
PROBE = """<script>
const box = document.documentElement, charts = [...document.querySelectorAll("svg")];
const drawn = charts.map(one => one.getBoundingClientRect());
document.body.dataset.seen = JSON.stringify({
  wide: box.scrollWidth - box.clientWidth, drawn: drawn.filter(one => one.width > 150 && one.height > 30).length,
  charts: drawn.length, asked: performance.getEntriesByType("resource").length,
});
</script>"""


class Page(HTMLParser):
    """What a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.references: list[str] = []
        self.tags: Counter[str] = Counter()
        self.words: list[str] = []
        self.rows: list[list[str]] = []
        self.tag = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.tag = tag
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src", "xlink:href", "data", "action", "srcset"):
                self.references.append(value or "")
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th") and self.rows:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self.rows.append([])

    def handle_data(self, data: str) -> None:
        if data.strip() and self.tag != "style":
            self.words.append(data.strip())
            if self.rows and self.rows[-1]:
                self.rows[-1][-1] = f"{self.rows[-1][-1]} {data.strip()}".strip()


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch, data_dir: Path, run: Run, tmp_path: Path) -> Path:
    with_log(monkeypatch, a_log(plan_of(WITH_CONTROL), leaks=True))
    folder = tmp_path / "meeting"
    told = run("report", folder, "--measures", tmp_path / "measures.yaml", "--data-dir", data_dir, "--json")
    assert told.code == 0, told.err
    assert told.json["verdicts"] == {"low": {"treated": "do not"}}
    assert [one.name for one in folder.iterdir()] == ["hearth-report.html"]
    return folder / "hearth-report.html"


def test_the_page_needs_nothing_else_and_names_nobody(written: Path):
    text = written.read_text()
    page = Page(text)

    assert {*SECTIONS} <= {*page.ids}
    assert [name for name, often in Counter(page.ids).items() if often > 1] == []
    assert {one for one in page.references if not one.startswith("#")} == set()
    assert {one[1:] for one in page.references} <= {*page.ids}
    assert page.tags["script"] == page.tags["link"] == page.tags["img"] == 0
    assert not re.search(r"url\((?!#)|@import|#0a0[bc]", text), "a file or a colour of elsewhere"
    assert not re.search(r"\b[Had]\d+(-\w+)?\b", " ".join(page.words)), "a household, an action or a decision"
    assert DEFINITIONS.count("low") == 1


def test_its_numbers_are_those_of_the_log(written: Path):
    page = Page(written.read_text())
    rows = {
        row[0]: row[1:] for row in page.rows if row and row[0] in ("entered", "reached", "seen", "accepted", "took up")
    }

    assert rows == {
        "entered": ["280 100.0%", "120 100.0%"],
        "reached": ["280 100.0%", "119 99.2%"],  # the leak is no ghost
        "seen": ["0 0.0%", "not known"],
        "accepted": ["0 0.0%", "not known"],
        "took up": ["120 42.9%", "40 33.3%"],
    }
    said = " ".join(page.words)
    assert f"{HOUSEHOLDS} households" in said
    assert "1 household in control was exposed." in said
    assert "the arms cannot be compared: 1 household in control had been exposed" in said
    (conversion,) = (row for row in page.rows if row[:3] == ["low", "treated", "conversion"])
    assert conversion[3:5] == ["42.86% 280", "33.33% 120"]
    assert page.tags["svg"] >= 5


def test_a_folder_that_cannot_be_one_is_refused(monkeypatch, data_dir: Path, run: Run, tmp_path: Path):
    with_log(monkeypatch, a_log(plan_of(WITH_CONTROL)))
    (tmp_path / "taken").write_text("")
    told = run("report", tmp_path / "taken", "--data-dir", data_dir)
    assert told.code == 2
    assert "is no folder; with --out" in told.err


def test_a_folder_that_was_meant_as_a_data_directory_is_named(run: Run, tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    for name, what in (("elsewhere", "is no data directory of Hearth"), ("wrong", "does not exist")):
        told = run("report", name)
        assert told.code == 2
        assert f"{name} {what}, and hearth-data is none either: name what is reported on with --data-dir" in told.err
        assert "elsewhere is no data directory" in run("report", name, "--data-dir", "elsewhere").err
    assert [one.name for one in tmp_path.rglob("*")] == ["elsewhere"]


def test_the_access_rules_of_the_folder_hold(monkeypatch, data_dir: Path, run: Run):
    asked: list[Path] = []
    monkeypatch.setattr("cluster.access.permit", lambda what, folder: asked.append(folder))
    run("report", data_dir)
    run("report", data_dir, "--data-dir", "other")
    run("report", "elsewhere")
    assert asked == [data_dir, Path("other"), Path("hearth-data")]


def test_a_data_directory_is_what_it_is_about(monkeypatch, data_dir: Path, run: Run, tmp_path: Path):
    with_log(monkeypatch, a_log(plan_of(WITH_CONTROL)))
    told = run("report", data_dir, "--measures", tmp_path / "measures.yaml")
    assert told.code == 0, told.err
    assert (data_dir / "hearth-report.html").is_file()
    assert "low, treated: NOT ENOUGH YET" in told.out


@pytest.mark.skipif(not BROWSER, reason="there is no Chromium or Chrome on this machine")
def test_a_browser_shows_all_of_it_and_asks_for_nothing(written: Path, tmp_path: Path):
    probed, printed = tmp_path / "probed.html", tmp_path / "printed.pdf"
    probed.write_text(written.read_text().replace("</body>", f"{PROBE}</body>"))
    options = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]

    def browse(*asked: str) -> str:
        done = subprocess.run([*options, *asked], capture_output=True, text=True, timeout=120, check=True)
        return done.stdout

    for width in (1100, 390):
        shown = browse(f"--window-size={width},900", "--dump-dom", probed.as_uri())
        (seen,) = re.findall(r'data-seen="([^"]+)"', shown)
        charts = Page(written.read_text()).tags["svg"]
        assert seen.replace("&quot;", '"') == f'{{"wide":0,"drawn":{charts},"charts":{charts},"asked":0}}'
    browse(f"--print-to-pdf={printed}", written.as_uri())
    assert printed.read_bytes().startswith(b"%PDF")
