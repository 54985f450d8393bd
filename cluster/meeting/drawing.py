"""Charts as elements of a page that follow its colours: light, dark and print. Needs matplotlib."""

import io
import re
from itertools import count
from typing import Any, Final

from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, MUTED, LINE, TREATED, CONTROL, GOOD, BAD = (f"#0a0b{place:02x}" for place in range(7))
SERIES: Final = tuple(f"#0a0c{place:02x}" for place in range(6))

_VARIABLE: Final = {
    **dict(
        zip(
            (INK, MUTED, LINE, TREATED, CONTROL, GOOD, BAD),
            ("ink", "muted", "line", "treated", "control", "good", "bad"),
            strict=True,
        )
    ),
    **{colour: f"series-{place}" for place, colour in enumerate(SERIES)},
}
"""The colours that charts are drawn in, which nothing else has, and the variable of the page that each becomes."""

STYLE: Final[dict[Any, Any]] = {
    # Letters stay letters, so that they can be read out, searched and copied.
    "svg.fonttype": "none",
    # Ids in a file that is the same for the same numbers.
    "svg.hashsalt": "hearth",
    "font.family": "sans-serif",
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": LINE,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid.axis": "y",
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.labelcolor": INK,
}


def figure_of(width: float, height: float) -> tuple[Figure, Axes]:
    """Return an empty figure of so many inches, with one pair of axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


class Drawn:
    """Turns figures into elements whose ids are each their own."""

    def __init__(self) -> None:
        self._numbers = count(1)

    def svg(self, figure: Figure, title: str) -> Markup:
        """Return a figure as an element of a page, with what it shows in words for who cannot see it."""
        stream = io.StringIO()
        figure.savefig(
            stream,
            format="svg",
            transparent=True,
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
        text = stream.getvalue()
        text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
        prefix = f"c{next(self._numbers)}-"
        text = re.sub(r'\bid="', f'id="{prefix}', text)
        text = re.sub(r"url\(#", f"url(#{prefix}", text)
        text = re.sub(r'xlink:href="#', f'xlink:href="#{prefix}', text)
        text = re.sub(r"#0a0[bc][0-9a-f]{2}", lambda found: f"var(--{_VARIABLE[found[0]]})", text)
        return Markup(text.replace("<svg ", f'<svg role="img" aria-label="{escape(title)}" ', 1))
