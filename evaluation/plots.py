"""Small plots as inline SVG, alike in every page and the same bytes for the same numbers."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("svg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

COLOURS = {
    "done": "#16794a",
    "rejected": "#d9822b",
    "failed": "#b42318",
    "quarantined": "#7a1fa2",
    "pending": "#98a2b3",
}
_STYLE: Any = {
    "svg.hashsalt": "limelight",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@dataclass(frozen=True)
class Plot:
    """A picture and what it says.

    Attributes:
        svg: Inline SVG markup, made by matplotlib (text in it is escaped).
        caption: One line for people.
    """

    svg: str
    caption: str


def histogram(
    values: Mapping[str, Sequence[float]],
    label: str,
    caption: str,
    *,
    limits: tuple[float, float] | None = None,
    line: float | None = None,
) -> Plot:
    """Stacked histogram of a number, coloured by status.

    Args:
        values: Numbers by status; may be empty.
        label: Of the horizontal axis, with its unit.
        caption: What the plot says.
        limits: Range of the horizontal axis.
        line: Where to draw a threshold.
    """
    figure, axes = _axes()
    statuses = [status for status in COLOURS if len(values.get(status, ()))]
    data = [np.asarray(values[status], float) for status in statuses]
    everything = np.concatenate(data) if data else np.zeros(0)
    if limits is None and everything.size:
        low, high = float(everything.min()), float(everything.max())
        limits = (low, high) if high > low else (low - 0.5, high + 0.5)
    axes.hist(
        data,
        bins=20,
        range=limits,
        stacked=True,
        color=[COLOURS[status] for status in statuses] or None,
        label=statuses or None,
    )
    if line is not None:
        axes.axvline(line, color="#344054", linestyle="--", linewidth=1)
    axes.set_xlabel(label)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    return Plot(_svg(figure), caption)


def scatter(x: Sequence[float], y: Sequence[float], labels: tuple[str, str], caption: str) -> Plot:
    """Points in a plane whose axes cross at zero, such as directions of light in degrees."""
    figure, axes = _axes()
    axes.scatter(x, y, s=14, alpha=0.7, color=COLOURS["done"], linewidths=0)
    axes.axhline(0, color="#98a2b3", linewidth=0.6)
    axes.axvline(0, color="#98a2b3", linewidth=0.6)
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    return Plot(_svg(figure), caption)


def bars(values: Mapping[str, float], label: str, caption: str) -> Plot:
    """Horizontal bars, the first on top."""
    figure, axes = _axes()
    names = list(values)
    axes.barh(names[::-1], [values[name] for name in names[::-1]], color="#3b6fb6")
    axes.set_xlabel(label)
    return Plot(_svg(figure), caption)


def _axes() -> tuple[Figure, Axes]:
    with mpl.rc_context(_STYLE):
        figure, axes = plt.subplots(figsize=(3.2, 2.0), layout="constrained")
    return figure, axes


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    plt.close(figure)
    text = buffer.getvalue()
    return text[text.index("<svg") :]
