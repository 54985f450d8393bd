"""Makes the page of a meeting from its facts. Nothing in it asks for anything elsewhere."""

from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Final

from jinja2 import Environment, StrictUndefined

from cluster.meeting import charts
from cluster.meeting.drawing import Drawn
from cluster.meeting.facts import MeetingFacts
from household.local_time import zone_of_name
from household.money import minor_digits
from insight.experiments.verdict import LaunchVerdict, Reading
from insight.intervals import Estimate
from insight.meeting.funnels import STAGES
from insight.meeting.over_time import PeriodFigures

TEMPLATE: Final = Path(__file__).with_name("page.html")

CLASSES: Final = {LaunchVerdict.LAUNCH: "good", LaunchVerdict.DO_NOT: "bad", LaunchVerdict.NOT_YET: "open"}


def page_of(facts: MeetingFacts) -> str:
    """Return the page as one HTML document. All that is told by others, names of journeys as well, is escaped."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    words = _Words(facts)
    return template.render(
        it=facts,
        charts=_charts(facts),
        measured=any(one.readings for one in facts.experiments),
        tiles=_tiles(facts, words),
        words=words,
        stages=STAGES,
        classes=CLASSES,
    )


def _charts(facts: MeetingFacts) -> dict[str, object]:
    drawn = Drawn()
    by_journey = [list(own) for _, own in groupby(facts.places, key=lambda one: one.journey)]
    return {
        "funnels": [charts.funnel_chart(drawn, one) for one in facts.funnels],
        "uplift": [
            chart
            for of in ("shares", "arpu")
            if (chart := charts.uplift_chart(drawn, facts.experiments, of=of, currency=facts.currency)) is not None
        ],
        "kpis": charts.kpi_chart(drawn, facts.steps, currency=facts.currency) if facts.steps else "",
        "contacts": charts.contacts_chart(drawn, facts.pressure) if facts.pressure.by_day else "",
        "often": charts.often_chart(drawn, facts.pressure.households) if facts.pressure.contacts else "",
        "kept_back": charts.kept_back_chart(drawn, facts.kept_back) if facts.kept_back else "",
        "products": charts.products_chart(drawn, facts.products, facts.products_before) if facts.products else "",
        "places": [(own[0].journey, charts.places_chart(drawn, own)) for own in by_journey],
    }


class _Words:
    """How numbers are told on a page."""

    def __init__(self, facts: MeetingFacts) -> None:
        self._facts = facts

    def count(self, value: int) -> str:
        return f"{value:,}"

    def percent(self, value: float | None) -> str:
        return "–" if value is None else f"{value:.1%}"

    def time(self, time_us: int) -> str:
        return f"{datetime.fromtimestamp(time_us / 1e6, zone_of_name(self._facts.zone)):%d %B %Y, %H:%M}"

    def money(self, minor: float) -> str:
        return f"{minor / 10 ** minor_digits(self._facts.currency):,.2f} {self._facts.currency}".strip()

    def of_measure(self, reading: Reading, value: float, *, signed: bool = False) -> str:
        if reading.measure == "arpu":
            return ("+" if signed and value >= 0 else "") + self.money(value)
        return f"{value * 100:+.2f} pp" if signed else f"{value:.2%}"

    def span(self, reading: Reading, estimate: Estimate) -> str:
        low, high = (self.of_measure(reading, value, signed=True) for value in (estimate.low, estimate.high))
        return f"{low} to {high}"

    def row(self, step: PeriodFigures, name: str) -> str:
        row = step.rows.get(name)
        if row is None or row.value is None:
            return "–"
        if name == "K2.arpu":
            return self.money(row.value)
        if name in ("K6.conversion", "K1.three_or_more"):
            return f"{row.value:.1%}"
        return f"{row.value / 1_000:,.2f} s" if name.startswith("K4.handed") else f"{row.value:,.3f}"


def _tiles(facts: MeetingFacts, words: _Words) -> list[tuple[str, str, str]]:
    """Return what is told first: a name, a number, and of what it is."""
    holding = sum(facts.products.values())
    families = sum(families * count for families, count in facts.products.items())
    tiles = [
        ("households that hold a product", words.count(holding), f"of {words.count(facts.households)} with a signal"),
        ("product families per household", f"{families / holding:.2f}" if holding else "–", "K1, now"),
    ]
    lately = facts.lately
    for name, title, kpi in (
        ("K2.arpu", "ecosystem ARPU in 30 days", "K2"),
        ("K3.depth", "retention depth, 0 to 1", "K3"),
    ):
        tiles.append((title, words.row(lately, name), f"{kpi}, of the last {lately.period.name}"))
    contacted = facts.pressure.contacted
    often = f"{facts.pressure.contacts / contacted:.2f}" if contacted else "–"
    tiles.append(("contacts per contacted household", often, f"{words.count(contacted)} households in 30 days"))
    capped = sum(one.decisions for one in facts.kept_back if one.is_cap)
    tiles.append(
        ("times a limit kept something back", words.count(capped), f"in {words.count(facts.decisions)} decisions")
    )
    return tiles
