"""The charts of a meeting's page."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Final

import numpy as np
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from cluster.meeting.drawing import BAD, CONTROL, GOOD, INK, LINE, MUTED, SERIES, STYLE, TREATED, Drawn, figure_of
from cluster.meeting.facts import ExperimentFacts, StateFacts
from household.money import minor_digits
from insight.experiments.verdict import Reading
from insight.measures.journeys import is_control
from insight.meeting.contacts import MANY, KeptBack, Pressure
from insight.meeting.funnels import STAGES, Funnel
from insight.meeting.over_time import FAMILIES_MANY, PeriodFigures, series

WIDE, HALF, THIRD = 9.2, 4.5, 3.0
VETOES_MAX: Final = 14
CHANNELS_MAX: Final = len(SERIES)

PANELS: Final[tuple[tuple[str, tuple[tuple[str, str], ...]], ...]] = (
    ("K1  product families per household", (("K1.families", ""),)),
    ("K2  ecosystem ARPU, {currency} in 30 days", (("K2.arpu", ""),)),
    ("K3  retention depth", (("K3.depth", ""),)),
    ("K4  signal to hand-over, seconds", (("K4.handed_p50", "half"), ("K4.handed_p95", "95 of 100"))),
    ("K5  wallet transactions per wallet", (("K5.frequency", ""),)),
    ("K6  cross-category conversion", (("K6.conversion", ""),)),
)
"""Title and measures of each panel of the figures over time."""


def funnel_chart(drawn: Drawn, funnel: Funnel) -> Markup:
    """Return how far households came, as parts of those that entered, treated beside control."""
    stages = list(STAGES[1:])
    with rc_context(STYLE):
        figure, axes = figure_of(HALF, 0.7 + 0.26 * len(stages) * max(len(funnel.arms), 1))
        height = 0.8 / len(funnel.arms)
        for place, arm in enumerate(funnel.arms):
            colour = CONTROL if is_control(arm.arm) else (TREATED, *SERIES[1:])[place % CHANNELS_MAX]
            for row, stage in enumerate(stages):
                share, at = arm.share(stage), row + (place - (len(funnel.arms) - 1) / 2) * height
                axes.barh(at, share or 0.0, height=height * 0.92, color=colour, label=arm.arm if row == 0 else None)
                told = "not known of control" if share is None else f"{share:.1%}"
                axes.annotate(
                    told,
                    (share or 0.0, at),
                    (4, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=8,
                    color=MUTED if share is None else INK,
                )
        axes.set_yticks(range(len(stages)), stages)
        axes.invert_yaxis()
        axes.set_xlim(0, 1.18)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1.0])
        axes.set_xlabel("of the households that entered")
        if len(funnel.arms) > 1:
            axes.legend(loc="lower right", fontsize=8.5)
        return drawn.svg(figure, f"Funnel of {funnel.journey}")


def uplift_chart(drawn: Drawn, experiments: Sequence[ExperimentFacts], *, of: str, currency: str) -> Markup | None:
    """Return what treating brought against control, of shares or of ARPU; None where nothing is known."""
    rows = [
        (f"{one.name}, {reading.arm}" if of == "arpu" else f"{one.name}, {reading.arm}: {reading.measure}", reading)
        for one in experiments
        for reading in one.readings
        if (reading.measure == "arpu") == (of == "arpu") and reading.is_enough
    ]
    if not rows:
        return None
    scale = 10.0 ** -minor_digits(currency) if of == "arpu" else 100.0
    with rc_context(STYLE):
        figure, axes = figure_of(WIDE, 0.8 + 0.27 * len(rows))
        for place, (_, reading) in enumerate(rows):
            colour = _colour(reading)
            axes.plot(
                [reading.anytime.low * scale, reading.anytime.high * scale], [place] * 2, color=colour, linewidth=1
            )
            axes.plot(
                [reading.effect.low * scale, reading.effect.high * scale],
                [place] * 2,
                color=colour,
                linewidth=4,
                solid_capstyle="butt",
            )
            axes.plot([reading.effect.value * scale], [place], "o", color=colour, ms=6)
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_yticks(range(len(rows)), [name for name, _ in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(visible=True, axis="x")
        unit = f"{currency or 'units'} per household in 30 days" if of == "arpu" else "percentage points of households"
        axes.set_xlabel(f"more than control, {unit}")
        return drawn.svg(figure, f"What treating brought against control, {unit}")


def _colour(reading: Reading) -> str:
    if reading.anytime.low > 0:
        return GOOD
    return BAD if reading.anytime.high < 0 else TREATED


def kpi_chart(drawn: Drawn, steps: Sequence[PeriodFigures], *, currency: str) -> Markup:
    """Return K1 to K6 over time, a panel each."""
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDE, 4.4), layout="constrained")
        panels = figure.subplots(2, 3)
        names = [step.period.name for step in steps]
        for axes, (title, measures) in zip(panels.flat, PANELS, strict=True):
            axes.set_title(title.format(currency=currency or "minor units"), fontsize=9)
            is_known = False
            for place, (measure, label) in enumerate(measures):
                known = list(series(steps, measure))
                is_known |= bool(known)
                values = [value * _scale(measure, currency) for _, value in known]
                at = [names.index(period.name) for period, _ in known]
                axes.plot(at, values, "o-", color=SERIES[place], ms=3.5, linewidth=1.6, label=label or None)
                if known:
                    axes.annotate(
                        f"{values[-1]:,.4g}",
                        (at[-1], values[-1]),
                        (0, 6),
                        textcoords="offset points",
                        ha="center",
                        fontsize=8,
                    )
            _over_time(axes, names)
            if not is_known:
                axes.text(0.5, 0.5, "nothing to tell yet", transform=axes.transAxes, ha="center", color=MUTED)
                axes.set_yticks([])
            elif measures[0][1]:
                axes.legend(fontsize=8, loc="upper left")
            if measures[0][0] == "K6.conversion":
                axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        return drawn.svg(figure, "K1 to K6 over time")


def _scale(measure: str, currency: str) -> float:
    if measure == "K2.arpu":
        return 10.0 ** -minor_digits(currency) if currency else 1.0
    return 0.001 if measure.startswith("K4.handed") else 1.0


def _over_time(axes: Axes, names: Sequence[str]) -> None:
    axes.set_xlim(-0.5, max(len(names) - 0.5, 0.5))
    axes.set_ylim(0, max(axes.get_ylim()[1], 1e-9) * 1.12)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(_name_of(names)))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.grid(visible=True)


def _name_of(names: Sequence[str]) -> Callable[[float, int | None], str]:
    def name(value: float, _: int | None) -> str:
        place = round(value)
        return (
            names[place].removeprefix(f"{date.min.year:04d}-")[2:] if 0 <= place < len(names) and place == value else ""
        )

    return name


def contacts_chart(drawn: Drawn, pressure: Pressure) -> Markup:
    """Return contacts of each day, by channel."""
    days = sorted({day for day, _ in pressure.by_day})
    days = list(range(days[0], days[-1] + 1)) if days else []
    often = {
        channel: sum(n for (_, one), n in pressure.by_day.items() if one == channel) for _, channel in pressure.by_day
    }
    channels = sorted(often, key=lambda one: -often[one])
    with rc_context(STYLE):
        figure, axes = figure_of(HALF + 0.6, 2.7)
        base = np.zeros(len(days))
        for place, channel in enumerate(channels):
            counts = np.array([pressure.by_day.get((day, channel), 0) for day in days], np.float64)
            axes.bar(
                range(len(days)), counts, bottom=base, width=0.8, color=SERIES[place % CHANNELS_MAX], label=channel
            )
            base += counts
        _over_time(axes, [date.fromordinal(day).isoformat() for day in days])
        axes.set_ylabel("contacts in a day")
        axes.legend(fontsize=8, ncols=3, loc="upper left")
        return drawn.svg(figure, "Contacts handed to gateways, by day and channel")


def often_chart(drawn: Drawn, households: Mapping[int, int]) -> Markup:
    """Return how many households were contacted how often."""
    return _counted(drawn, households, many=MANY, what="contacts in 30 days", title="Households by contacts in 30 days")


def products_chart(drawn: Drawn, products: Mapping[int, int], before: Mapping[int, int]) -> Markup:
    """Return how many households hold products of how many families, now and before."""
    return _counted(
        drawn,
        products,
        many=FAMILIES_MANY,
        what="product families held",
        title="Households by product families held",
        before=before,
    )


def _counted(
    drawn: Drawn,
    counts: Mapping[int, int],
    *,
    many: int,
    what: str,
    title: str,
    before: Mapping[int, int] | None = None,
) -> Markup:
    numbers = list(range(1, many + 1))
    pairs = [(counts, TREATED, "now")] if before is None else [(before, CONTROL, "before"), (counts, TREATED, "now")]
    width = 0.8 / len(pairs)
    with rc_context(STYLE):
        figure, axes = figure_of(HALF - 0.6, 2.7)
        for place, (own, colour, label) in enumerate(pairs):
            at = [number + (place - (len(pairs) - 1) / 2) * width for number in numbers]
            heights = [own.get(number, 0) for number in numbers]
            axes.bar(at, heights, width=width * 0.94, color=colour, label=label)
            if label == "now":
                for x, y in zip(at, heights, strict=True):
                    axes.annotate(f"{y:,}", (x, y), (0, 3), textcoords="offset points", ha="center", fontsize=8)
        axes.set_xticks(numbers, [str(number) if number < many else f"{number}+" for number in numbers])
        axes.set_ylim(0, max([*counts.values(), *(before or {}).values(), 1]) * 1.18)
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.grid(visible=True)
        axes.set(xlabel=what, ylabel="households")
        if before is not None:
            axes.legend(fontsize=8)
        return drawn.svg(figure, title)


def kept_back_chart(drawn: Drawn, kept: Sequence[KeptBack]) -> Markup:
    """Return what kept things back, limits of the playbook in a colour of their own."""
    shown = kept[:VETOES_MAX]
    with rc_context(STYLE):
        figure, axes = figure_of(WIDE, 0.6 + 0.25 * max(len(shown), 2))
        axes.barh(
            range(len(shown)),
            [one.decisions for one in shown],
            color=[BAD if one.is_cap else CONTROL for one in shown],
            height=0.7,
        )
        for place, one in enumerate(shown):
            axes.annotate(
                f"{one.decisions:,}",
                (one.decisions, place),
                (4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
        axes.set_yticks(range(len(shown)), [one.veto for one in shown])
        axes.invert_yaxis()
        axes.set_xlim(0, max((one.decisions for one in shown), default=1) * 1.1)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set_xlabel("decisions in which it spoke against something")
        return drawn.svg(figure, "What kept things back")


def places_chart(drawn: Drawn, places: Sequence[StateFacts]) -> Markup:
    """Return how many instances of a journey are in which state, or have ended how."""
    with rc_context(STYLE):
        figure, axes = figure_of(HALF, 0.8 + 0.26 * max(len(places), 2))
        treated = np.array([one.treated for one in places], np.float64)
        control = np.array([one.control for one in places], np.float64)
        rows = range(len(places))
        axes.barh(rows, treated, color=TREATED, height=0.72, label="treated")
        axes.barh(rows, control, left=treated, color=CONTROL, height=0.72, label="control")
        for place, one in enumerate(places):
            count = one.treated + one.control
            axes.annotate(f"{count:,}", (count, place), (4, 0), textcoords="offset points", va="center", fontsize=8)
        axes.set_yticks(rows, [one.where if one.is_live else f"ended: {one.where}" for one in places])
        axes.axhline(sum(one.is_live for one in places) - 0.5, color=LINE, linewidth=0.8)
        axes.invert_yaxis()
        axes.set_xlim(0, float((treated + control).max(initial=1.0)) * 1.15)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.set_xlabel("instances")
        axes.legend(fontsize=8, loc="lower right")
        return drawn.svg(figure, f"Who is where in {places[0].journey}")
