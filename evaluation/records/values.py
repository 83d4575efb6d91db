"""What metrics say of cells and of methods, out of the features that were kept.

One cell's features are in memory at a time; of set metrics, one method's.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.cells.cache import FeatureCache
from evaluation.cells.cell import Cell
from evaluation.cells.inputs import case_features, films_of
from evaluation.cells.rows import Row
from evaluation.metrics.base import ClipMetric, Metric, SetMetric
from evaluation.records.facts import Mode, SetFacts
from evaluation.records.resampling import Kept, set_interval, together

Frames = NDArray[np.float64]
"""Values of a film's frames, or of its pairs of frames; NaN where there is none."""


@dataclass
class CellValues:
    """What clip metrics say of a cell, each by its name.

    Attributes:
        frames: Values of its frames, where there is a mean.
        means: Their means; None where there is none.
        gaps: Share of frames without a value, where some have none.
        missing: Why there is no mean.
    """

    frames: dict[str, Frames] = field(default_factory=dict)
    means: dict[str, float | None] = field(default_factory=dict)
    gaps: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


class CellReader:
    """Reads cells out of the cache; features of films that two cells in a row share stay.

    Args:
        folder: Of the features.
        metrics: Those of clips.
        failures: Why an extractor found nothing, by the extractor's name, for each cell (by its id)
            and each film that methods are given (by its digest).
    """

    def __init__(
        self,
        folder: Path,
        metrics: Sequence[ClipMetric],
        failures: Mapping[str, Mapping[str, str]],
    ) -> None:
        self._cache = _Shelf(folder)
        self._metrics = {metric.info.name: metric for metric in metrics}
        self._failures = failures

    def read(self, cell: Cell, row: Row) -> CellValues:
        """What the metrics say of a cell that is done; nothing of another."""
        told = CellValues()
        if row.film is None:
            return told
        self._cache.keep({row.film.digest, *(f.digest for f in films_of(cell.case).values())})
        for name, metric in self._metrics.items():
            try:
                case = case_features(cell, row, self._cache, metric)
                frames = np.asarray(metric.frames(case), np.float64)
            except (ValueError, KeyError) as error:
                told.means[name] = None
                told.missing[name] = self._reason(cell, metric, error)
                continue
            _take(told, name, frames)
        return told

    def _reason(self, cell: Cell, metric: Metric, error: Exception) -> str:
        """Why a metric raised: because of an extractor that did, or by its own words."""
        films, asked = films_of(cell.case), metric.extractors()
        looks = [cell.id, *(films[role].digest for role in asked if role in films)]
        names = {extractor.name for extractor in asked.values()}
        raised = sorted(
            {
                f"{name}: {reason}"
                for look in looks
                for name, reason in self._failures.get(look, {}).items()
                if name in names
            }
        )
        if raised:
            return "; ".join(raised)
        return str(error) if isinstance(error, ValueError) else f"the feature {error} is missing"


def set_values(
    metric: SetMetric,
    methods: Mapping[str, Sequence[tuple[Cell, Row]]],
    mode: Mode,
    folder: Path,
) -> list[SetFacts]:
    """What a set metric says of methods, held against all driving films, each of which counts once.

    Args:
        metric: The metric.
        methods: Cells of each method, with what became of them, by its name.
        mode: What was done in all of them.
        folder: Of the features.
    """
    name, cache, asked = metric.info.name, FeatureCache(folder), metric.extractors()

    def kept(films: Iterable[tuple[str, str]], extractor: str) -> list[Kept]:
        """Statistics of films, given by digest and identity; in one order, whoever asks."""
        found = ((whom, cache.load(film, extractor)) for film, whom in sorted(films))
        return [Kept(whom, metric.statistics(told)) for whom, told in found if told is not None]

    drivers = {c.subject.id: c.subject.identity for cells in methods.values() for c, _ in cells}
    reals = kept(drivers.items(), asked["driving"].digest)
    facts = []
    for method, cells in methods.items():
        made = [
            (row.film.digest, (cell.reference or cell.subject).identity)
            for cell, row in cells
            if row.film is not None
        ]
        outputs = kept(made, asked["output"].digest)
        notes = [
            f"{number - there} of the {number} {what} are not in it"
            for what, number, there in (
                ("outputs asked for", len(cells), len(outputs)),
                ("driving films", len(drivers), len(reals)),
            )
            if there < number
        ]
        value: dict[str, Any] = {}
        if outputs and reals:
            value, note = _value(metric, outputs, reals)
            notes.insert(0, note)
        warning = "; ".join(note for note in notes if note)
        facts.append(SetFacts(method=method, metric=name, mode=mode, warning=warning, **value))
    return facts


class _Shelf(FeatureCache):
    """A cache that remembers what was loaded, until it is told to keep less."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._loaded: dict[tuple[str, str], dict[str, NDArray[Any]] | None] = {}

    def load(self, film: str, extractor: str) -> dict[str, NDArray[Any]] | None:
        """As the cache, or from memory."""
        if (film, extractor) not in self._loaded:
            self._loaded[film, extractor] = super().load(film, extractor)
        return self._loaded[film, extractor]

    def keep(self, films: set[str]) -> None:
        """Forget all but these films, by their digests."""
        self._loaded = {key: each for key, each in self._loaded.items() if key[0] in films}


def _take(told: CellValues, name: str, frames: Frames) -> None:
    """Put a metric's frames down, with their mean and what they lack."""
    known = frames[~np.isnan(frames)]
    told.means[name] = None
    if not len(known):
        told.missing[name] = "no frame of it has a value, as where no face is found"
    elif not np.isfinite(known).all():
        told.missing[name] = "a frame of it has an infinite value"
    else:
        told.means[name], told.frames[name] = float(known.mean()), frames
        if len(known) < len(frames):
            told.gaps[name] = 1 - len(known) / len(frames)


def _value(
    metric: SetMetric, outputs: Sequence[Kept], reals: Sequence[Kept]
) -> tuple[dict[str, Any], str]:
    """Fields of `SetFacts`, and why they should not be trusted."""
    made, real = (together(each.statistics for each in films) for films in (outputs, reals))
    try:
        found = metric.value(made, real)
    except ValueError as error:
        return {}, str(error)
    if not np.isfinite(found.value):
        return {"n": found.n, "reals": found.reals}, "; ".join(
            note for note in (found.warning, "it is no finite number") if note
        )
    told: dict[str, Any] = {"value": found.value, "n": found.n, "reals": found.reals}
    interval = set_interval(metric, found.value, outputs, reals)
    if interval is not None:
        told |= {"low": interval[0], "high": interval[1], "draws": metric.draws}
    return told, found.warning
