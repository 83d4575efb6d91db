"""Small plots as inline SVG, alike in every page and the same bytes for the same numbers."""

import io
import re
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
"""A verdict's colour. In a page it is that of the page's CSS variable of the same name."""

_INK, _SOFT, _BAR = "#1c1e21", "#667085", "#3b6fb6"
_VARIABLES = COLOURS | {"ink": _INK, "soft": _SOFT, "bar": _BAR}
_STYLE: Any = {
    "svg.hashsalt": "limelight",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), _SOFT),
    **dict.fromkeys(("axes.labelcolor", "text.color"), _INK),
    **dict.fromkeys(("xtick.labelcolor", "ytick.labelcolor"), _INK),
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
    figure, axes = new_axes()
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
        axes.axvline(line, color=_INK, linestyle="--", linewidth=1)
    axes.set_xlabel(label)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    return Plot(to_svg(figure), caption)


def scatter(
    x: Sequence[float],
    y: Sequence[float],
    labels: tuple[str, str],
    caption: str,
    *,
    limits: tuple[float, float],
) -> Plot:
    """Points in a plane whose axes cross at zero, such as directions of light in degrees.

    Args:
        x: Of each point.
        y: Of each point.
        labels: Of the horizontal and the vertical axis, with units.
        caption: What the plot says.
        limits: The largest |x| and |y| that there is room for.
    """
    figure, axes = new_axes()
    axes.axhline(0, color=_SOFT, linewidth=0.6)
    axes.axvline(0, color=_SOFT, linewidth=0.6)
    axes.scatter(x, y, s=18, alpha=0.7, color=COLOURS["done"], linewidths=0)
    for axis, limit in zip((axes.xaxis, axes.yaxis), limits, strict=True):
        axis.set_ticks(np.linspace(-limit, limit, 5))
    axes.set_xlim(-limits[0], limits[0])
    axes.set_ylim(-limits[1], limits[1])
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    return Plot(to_svg(figure), caption)


def bars(values: Mapping[str, float], label: str, caption: str) -> Plot:
    """Horizontal bars, the first on top."""
    figure, axes = new_axes()
    names = list(values)
    axes.barh(names[::-1], [values[name] for name in names[::-1]], color=_BAR)
    axes.set_xlabel(label)
    return Plot(to_svg(figure), caption)


def curves(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    labels: tuple[str, str],
    caption: str,
    *,
    marked: bool = False,
) -> Plot:
    """Lines over a common axis, such as a loss over the steps of a training run.

    Args:
        series: Horizontal and vertical places of each line's points, by the line's name.
        labels: Of the horizontal and the vertical axis, with units.
        caption: What the plot says.
        marked: Show the points themselves, where they are few.
    """
    figure, axes = new_axes()
    for (name, (x, y)), colour in zip(series.items(), (_BAR, *COLOURS.values()), strict=False):
        axes.plot(
            x,
            y,
            color=colour,
            linewidth=1.4,
            marker="o" if marked else "",
            markersize=4,
            label=name,
        )
    axes.set_ylim(bottom=0)
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    if len(series) > 1:
        axes.legend(frameon=False)
    return Plot(to_svg(figure), caption)


def new_axes() -> tuple[Figure, Axes]:
    """An empty plot of the pages' size and style, to be ended by `to_svg`."""
    with mpl.rc_context(_STYLE):
        figure, axes = plt.subplots(figsize=(3.2, 2.0), layout="constrained")
    return figure, axes


def to_svg(figure: Figure) -> str:
    """Inline SVG of a figure, which is closed: the same bytes for the same plot."""
    buffer = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    plt.close(figure)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    # Names like "axes_1" are in every plot, and would be in a page many times over.
    text = re.sub(r' id="[\w.]+_\d+"', "", text)
    for name, colour in _VARIABLES.items():
        text = text.replace(colour, f"var(--{name}, {colour})")
    return text
