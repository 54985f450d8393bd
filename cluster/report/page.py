"""Makes the page of a report from its facts. Nothing in it asks for anything elsewhere."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from cluster.report import charts
from cluster.report.facts import Missing, ReportFacts

TEMPLATE: Final = Path(__file__).with_name("page.html")


def page_of(facts: ReportFacts) -> str:
    """Return the report as one HTML document. All that is told by others, names of columns as well, is escaped."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(it=facts, charts=_charts(facts), count=_count, number=_number, percent=_percent, day=_day)


def _charts(facts: ReportFacts) -> dict[str, object]:
    watched, explained = facts.watched, facts.explained
    groups = facts.judged.groups if facts.judged is not None else ()
    trained = [(float(said), float(came), int(rows)) for said, came, rows in facts.training.get("calibration") or ()]
    made: dict[str, object] = {"calibration": "", "tenths": "", "importance": "", "effects": [], "drift": ""}
    if groups or trained:
        made["calibration"] = Markup(charts.calibration_chart(groups, trained))
    if facts.tenths:
        made["tenths"] = Markup(charts.tenths_chart(facts.tenths))
    if not isinstance(explained, Missing):
        made["importance"] = Markup(charts.importance_chart(explained.columns))
        made["effects"] = [Markup(one) for one in charts.effect_charts(explained.columns)]
    if not isinstance(watched, Missing) and watched.features:
        made["drift"] = Markup(charts.drift_chart(watched.features))
    return made


def _count(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "–"


def _number(value: object, digits: int) -> str:
    return f"{value:.{digits}f}" if isinstance(value, int | float) else "–"


def _percent(value: object) -> str:
    return f"{value:.1%}" if isinstance(value, int | float) else "–"


def _day(at_us: object) -> str:
    return datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y-%m-%d") if isinstance(at_us, int) else "–"
