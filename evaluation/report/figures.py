"""The plots of a report, as inline SVG. Names of methods stay out of them: the page has a legend.

(A name may be anything, and matplotlib would read ``$`` in it as mathematics.)
"""

import math
import textwrap
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from evaluation.plots import Plot, new_axes, to_svg
from evaluation.records.facts import MetricFacts, Mode
from evaluation.records.record import Record
from evaluation.report.tables import Ablation, Column

SERIES = (
    *("#3a6eb5", "#d07a1f", "#1b7f52", "#c0342b"),
    *("#7c3aa8", "#0e8a9c", "#a3446e", "#7d6b1f"),
)
"""A method's colour, by its number; in a page it is the CSS variable ``--s0`` and so on."""

_INCHES = (2.25, 1.7)
"""So small that its letters can still be read where two stand side by side on a phone."""


@dataclass(frozen=True)
class Key:
    """An entry of the legend: a method's name, its number from 1, and its colour's number."""

    name: str
    number: int
    colour: int


def legend(record: Record) -> list[Key]:
    """Which colour is whose."""
    return [
        Key(method.name, number + 1, number % len(SERIES))
        for number, method in enumerate(record.methods)
    ]


def figures(
    record: Record, mode: Mode, factors: Sequence[Ablation], main: Collection[str]
) -> tuple[list[Plot], list[Plot]]:
    """All plots that the record has numbers for: those to be seen first, and the others.

    First come light error against identity, ablations, light error over time, and how the values
    of the main metrics are distributed.

    Args:
        record: Of the benchmark.
        mode: Which half of it.
        factors: Its ablations.
        main: Names of the metrics of the first table.
    """
    clip_metrics = [
        metric
        for metric in record.metrics
        if any(
            cell.mode == mode and cell.values.get(metric.name) is not None for cell in record.cells
        )
    ]
    first: list[Plot] = []
    others: list[Plot] = []
    light, likeness = _first(clip_metrics, "LE"), _first(clip_metrics, "ID")
    if light is not None and likeness is not None:
        first.append(_against(record, mode, light, likeness))
    for ablation in factors:
        if ablation.numeric:
            for column, plot in _sweep(ablation):
                (first if column.key in main else others).append(plot)
    for metric in record.metrics:
        if any(trace.mode == mode and trace.metric == metric.name for trace in record.traces):
            (first if metric == light else others).append(_over_time(record, mode, metric))
    for metric in clip_metrics:
        (first if metric.name in main else others).append(_distribution(record, mode, metric))
    return first, others


def _first(metrics: Sequence[MetricFacts], title: str) -> MetricFacts | None:
    """The metric of that title, or a variant of it: ``LE``, ``LE (luminance)``."""
    return next((metric for metric in metrics if metric.title.split()[:1] == [title]), None)


def _against(record: Record, mode: Mode, x: MetricFacts, y: MetricFacts) -> Plot:
    """Two metrics of each cell, as a cloud a method, with its centre."""
    figure, axes = new_axes()
    for number, method in enumerate(record.methods):
        points = np.array(
            [
                (cell.values[x.name], cell.values[y.name])
                for cell in record.cells
                if (cell.method, cell.mode) == (method.name, mode)
                and cell.values.get(x.name) is not None
                and cell.values.get(y.name) is not None
            ],
            float,
        ).reshape(-1, 2)
        if len(points):
            colour = _colour(number)
            axes.scatter(points[:, 0], points[:, 1], s=9, alpha=0.45, color=colour, linewidths=0)
            x_mean, y_mean = points.mean(axis=0)
            axes.scatter(x_mean, y_mean, s=50, color=colour, marker="P", linewidths=0)
    _label(axes, f"{x.title}{_dagger(x)} {_arrow(x)}", f"{y.title}{_dagger(y)} {_arrow(y)}")
    caption = f"{y.title}{_dagger(y)} against {x.title}{_dagger(x)}: a dot a clip, a plus the mean"
    return _plot(figure, caption)


def _distribution(record: Record, mode: Mode, metric: MetricFacts) -> Plot:
    """A metric's values, a row of dots a method, with its quartiles."""
    figure, axes = new_axes()
    for number, method in enumerate(record.methods):
        values = [
            value
            for cell in record.cells
            if (cell.method, cell.mode) == (method.name, mode)
            and (value := cell.values.get(metric.name)) is not None
        ]
        if values:
            # Spread by the golden ratio: no draws, and no two neighbours alike.
            spread = ((np.arange(len(values)) * 0.618034) % 1 - 0.5) * 0.5
            colour = _colour(number)
            axes.scatter(values, number + 1 + spread, s=7, alpha=0.4, color=colour, linewidths=0)
            low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
            axes.plot([low, high], [number + 1] * 2, color=colour, linewidth=4, alpha=0.6)
            axes.plot([middle] * 2, [number + 0.65, number + 1.35], color=colour, linewidth=2)
    axes.set_ylim(len(record.methods) + 0.6, 0.4)
    axes.set_yticks(range(1, len(record.methods) + 1))
    _label(axes, f"{metric.title}{_dagger(metric)} {_arrow(metric)}", "")
    title = f"{metric.title}{_dagger(metric)}"
    caption = f"{title} of each clip, with median and quartiles"
    return _plot(figure, caption, len(record.methods))


def _over_time(record: Record, mode: Mode, metric: MetricFacts) -> Plot:
    """A metric's mean at each frame."""
    figure, axes = new_axes()
    for number, method in enumerate(record.methods):
        for trace in record.traces:
            if (trace.method, trace.metric, trace.mode) == (method.name, metric.name, mode):
                values = [math.nan if value is None else value for value in trace.values]
                axes.plot(range(len(values)), values, color=_colour(number), linewidth=1.3)
    _label(axes, "frame", f"{metric.title}{_dagger(metric)} {_arrow(metric)}")
    return _plot(figure, f"{metric.title}{_dagger(metric)} over time: the mean over clips")


def _sweep(ablation: Ablation) -> list[tuple[Column, Plot]]:
    """Each metric over the factor, with its intervals."""
    plots: list[tuple[Column, Plot]] = []
    for number, column in enumerate(ablation.table.columns):
        found = [
            (float(level), entry.value, entry)
            for level, line in zip(ablation.values, ablation.table.lines, strict=True)
            if (entry := line.entries[number]).value is not None
        ]
        if len(found) < 2:
            continue
        figure, axes = new_axes()
        places, values, _ = zip(*found, strict=True)
        axes.plot(places, values, color=SERIES[0], marker="o", markersize=4)
        for place, _, entry in found:
            if entry.low is not None and entry.high is not None:
                axes.plot([place] * 2, [entry.low, entry.high], color=SERIES[0], linewidth=1)
        _label(axes, ablation.factor, f"{_titled(column)} {column.arrow}")
        plots.append((column, _plot(figure, f"{_titled(column)} over {ablation.factor}")))
    return plots


def _plot(figure: Figure, caption: str, rows: int = 0) -> Plot:
    width, height = _INCHES
    figure.set_size_inches(width, max(height, 0.5 + 0.14 * rows))  # a line of text for each row
    text = to_svg(figure)
    for number, colour in enumerate(SERIES):
        text = text.replace(colour, f"var(--s{number}, {colour})")
    return Plot(text, caption)


def _label(axes: Axes, x: str, y: str) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.set_xlabel(textwrap.fill(x, 30), parse_math=False)
    axes.set_ylabel(textwrap.fill(y, 18), parse_math=False)


def _colour(number: int) -> str:
    return SERIES[number % len(SERIES)]


def _arrow(metric: MetricFacts) -> str:
    return "↑" if metric.higher_is_better else "↓"


def _dagger(metric: MetricFacts) -> str:
    return "†" if metric.grade == "embedded" else ""


def _titled(column: Column) -> str:
    return f"{column.title}{'†' if column.embedded else ''}"
