"""The charts of a report, as SVG within its page. Needs matplotlib, which the extra `report` installs."""

import io
import re
from collections.abc import Sequence
from typing import Any, Final

from markupsafe import escape
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cluster.report.facts import ScoredTenth
from serving.models.calibration import ScoreGroup
from serving.models.drift import Drift, Drifted
from serving.models.explaining import ColumnExplained

BLUE, GREY, RED, GREEN = "#2b6cb0", "#a0aec0", "#c53030", "#2f855a"
COLUMNS_MAX = 20
EFFECTS_MAX = 6

STYLE: Final[dict[Any, Any]] = {
    # Letters stay letters, so that they can be read out, searched and copied.
    "svg.fonttype": "none",
    # Ids in a file that is the same for the same numbers.
    "svg.hashsalt": "hearth",
    "font.family": "sans-serif",
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def calibration_chart(groups: Sequence[ScoreGroup], trained: Sequence[tuple[float, float, int]]) -> str:
    """Return what came true over what was said, by tenth of the scores."""
    with rc_context(STYLE):
        figure, axes = _figure(4.6, 3.6)
        said = [one.predicted for one in groups] + [one[0] for one in trained]
        came = [one.observed for one in groups] + [one[1] for one in trained]
        most = max([*said, *came, 0.01]) * 1.05
        axes.plot([0, most], [0, most], color=GREY, linewidth=1, linestyle="--", label="right")
        if trained:
            axes.plot(
                [x for x, _, _ in trained],
                [y for _, y, _ in trained],
                "s-",
                color=GREY,
                ms=4,
                label="held out in training",
            )
        if groups:
            axes.plot(
                [one.predicted for one in groups],
                [one.observed for one in groups],
                "o-",
                color=BLUE,
                ms=5,
                label="not seen",
            )
        axes.set(xlabel="mean score", ylabel="accepted", xlim=(0, most), ylim=(0, most))
        axes.legend(frameon=False)
        return _svg(figure, "Share accepted over mean score, by tenth")


def tenths_chart(tenths: Sequence[ScoredTenth]) -> str:
    """Return the rate of acceptance by tenth, and the share of all acceptances gained so far."""
    with rc_context(STYLE):
        figure, axes = _figure(4.6, 3.6)
        places = [one.number for one in tenths]
        axes.bar(places, [one.rate for one in tenths], color=BLUE)
        axes.set(xlabel="tenth of the decisions, highest scores first", ylabel="accepted", xticks=places)
        gained = axes.twinx()
        gained.plot(places, [one.gained for one in tenths], "o-", color=GREEN, ms=4)
        gained.set(ylabel="of all acceptances, so far", ylim=(0, 1.05))
        gained.spines["right"].set_visible(True)
        return _svg(figure, "Rate of acceptance by tenth of the scores")


def importance_chart(columns: Sequence[ColumnExplained]) -> str:
    """Return how much each column matters, most first."""
    shown = list(columns[:COLUMNS_MAX])[::-1]
    with rc_context(STYLE):
        figure, axes = _figure(6.2, 0.6 + 0.24 * max(len(shown), 2))
        axes.barh([one.name for one in shown], [one.mean_abs for one in shown], color=BLUE, height=0.65)
        axes.set(xlabel="mean |SHAP|, in log odds")
        return _svg(figure, "How much each column matters")


def effect_charts(columns: Sequence[ColumnExplained]) -> list[str]:
    """Return, for the columns that matter most, what their values add to a score."""
    charts = []
    for column in [one for one in columns[:EFFECTS_MAX] if one.mean_abs > 0]:
        with rc_context(STYLE):
            figure, axes = _figure(3.1, 2.6)
            means = [one.mean for one in column.effects]
            axes.bar(range(len(means)), means, color=[BLUE if mean >= 0 else RED for mean in means])
            axes.axhline(0, color=GREY, linewidth=0.8)
            axes.set_xticks(range(len(means)), [one.of for one in column.effects], rotation=60, ha="right", fontsize=6)
            axes.set_title(column.name, fontsize=9)
            axes.set_ylabel("log odds", fontsize=7)
            charts.append(_svg(figure, f"What values of {column.name} add to a score"))
    return charts


def drift_chart(features: Sequence[Drift]) -> str:
    """Return how far columns have drifted, with intervals."""
    shown = list(features[:COLUMNS_MAX])[::-1]
    colours = {Drifted.MOVED: RED, Drifted.STEADY: GREEN, Drifted.UNKNOWN: GREY}
    with rc_context(STYLE):
        figure, axes = _figure(6.2, 0.6 + 0.24 * max(len(shown), 2))
        for place, one in enumerate(shown):
            axes.plot([one.low, one.high], [place, place], color=colours[one.verdict], linewidth=2)
            axes.plot([one.psi], [place], "o", color=colours[one.verdict], ms=4)
        axes.set_yticks(range(len(shown)), [one.name for one in shown])
        axes.axvline(0.1, color=GREY, linewidth=0.8, linestyle="--")
        axes.set(xlabel="PSI against the training set, with its interval", xlim=(0, None))
        return _svg(figure, "How far columns have drifted")


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def _svg(figure: Figure, title: str) -> str:
    """Return a figure as an element of a page, with what it shows in words for who cannot see it."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = stream.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(title)}" ', 1)
