"""From rows and features to a record: what a benchmark found, whoever computed it and when."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from evaluation.cells.cell import Cell, LightTarget, Subject
from evaluation.cells.places import Places
from evaluation.cells.rows import Row, failed
from evaluation.metrics.base import ClipMetric, Metric, SetMetric
from evaluation.protocols.cases import Prepared
from evaluation.protocols.lossless import Film
from evaluation.records.facts import (
    CellFacts,
    ClipFacts,
    MethodFacts,
    MetricFacts,
    Mode,
    ProtocolFacts,
    Provenance,
    SetFacts,
    StudyFacts,
    TraceFacts,
)
from evaluation.records.lights import key, light_facts, unique_names
from evaluation.records.record import Record, mean_trace
from evaluation.records.values import CellReader, CellValues, set_values

NOT_RUN = "it was not run"
"""Reason of a cell of which nothing was kept."""


def assemble(
    *,
    name: str,
    prepared: Prepared,
    cells: Sequence[Cell],
    methods: Sequence[MethodFacts],
    metrics: Sequence[Metric],
    places: Places,
    video: Callable[[Film], str],
    picture: Callable[[LightTarget], str],
    failures: Mapping[str, Mapping[str, str]],
    left_out_metrics: Mapping[str, str],
    provenance: Provenance,
    study: Sequence[StudyFacts] = (),
    progress: Callable[[str], None] = lambda name: None,
) -> Record:
    """Put a record together out of what was kept; no film is looked at and no model is loaded.

    Methods, clips and lights have the names of ``cells``: rows may have been made under others.

    Args:
        name: Of the benchmark.
        prepared: Its protocol, ready.
        cells: All that was asked for, in any order.
        methods: What was judged, in the order of the tables.
        metrics: What was measured, in the order of the tables; none need be set up.
        places: Where rows and features are.
        video: Gives the path of a film that can be played, relative to the report; empty for none.
        picture: The same of a light's picture.
        failures: Why an extractor found nothing, by the extractor's name, for each cell (by its id)
            and each film that methods are given (by its digest).
        left_out_metrics: Why metrics that were asked for are not among ``metrics``.
        provenance: What it all came from.
        study: What people said.
        progress: Told of each cell and each set metric before it is read.
    """
    order = {method.name: place for place, method in enumerate(methods)}
    by_case = sorted(cells, key=lambda cell: (_case_order(cell), order[cell.method]))
    names = unique_names(cell.light for cell in cells if cell.light)
    reader = CellReader(
        places.features, [each for each in metrics if isinstance(each, ClipMetric)], failures
    )
    found = []
    for cell in by_case:  # a clip's features serve all methods before they are let go
        progress(f"{cell.method} on {cell.subject.name}")
        row = Row.read(places, cell.id) or failed(cell, NOT_RUN)
        light = names[key(cell.light)] if cell.light else ""
        found.append(_Found(cell, row, reader.read(cell, row), light))
    found.sort(key=lambda each: order[each.cell.method])
    sets: list[SetFacts] = []
    for metric in (each for each in metrics if isinstance(each, SetMetric)):
        progress(metric.info.title)
        sets += _sets(metric, found, methods, places)
    infos = [MetricFacts.model_validate(metric.info.to_json()) for metric in metrics]
    return Record(
        name=name,
        protocol=_protocol(prepared),
        methods=tuple(methods),
        metrics=tuple(infos),
        unmeasured=dict(left_out_metrics),
        clips=_clips(by_case, video),
        lights=light_facts((cell.light for cell in by_case if cell.light), names, picture),
        cells=tuple(_cell(each, video) for each in found),
        sets=tuple(sets),
        traces=_traces(found, infos, methods),
        study=tuple(study),
        provenance=provenance,
    )


@dataclass(frozen=True)
class _Found:
    """A cell, what became of it, what metrics say, and what its light is called."""

    cell: Cell
    row: Row
    values: CellValues
    light: str


def _case_order(cell: Cell) -> tuple[str, ...]:
    """By names, as people look for them; then by content."""
    reference = cell.reference.name if cell.reference else ""
    return cell.subject.name, reference, cell.light.name if cell.light else "", cell.case.id


def _protocol(prepared: Prepared) -> ProtocolFacts:
    protocol, origin = prepared.protocol, prepared.origin
    source = " ".join(str(origin[part]) for part in ("release", "version") if part in origin)
    left_out: dict[str, str] = {}
    for each in prepared.left_out:
        told = left_out.get(each.name)
        left_out[each.name] = f"{told}; {each.reason}" if told else each.reason
    own = {"name", "title", "about", "size", "published"}
    return ProtocolFacts(
        name=protocol.name,
        title=protocol.title,
        about=protocol.about,
        digest=protocol.digest,
        size=protocol.size,
        source=source or str(origin.get("folder", "")),
        published=protocol.published,
        settings={key: value for key, value in protocol.settings().items() if key not in own},
        left_out=left_out,
    )


def _clips(cells: Sequence[Cell], video: Callable[[Film], str]) -> tuple[ClipFacts, ...]:
    """Clips that drive, then portraits; each once."""
    subjects: dict[str, Subject] = {}
    for cell in cells:
        subjects.setdefault(cell.subject.id, cell.subject)
    for cell in cells:
        if cell.reference:
            subjects.setdefault(cell.reference.id, cell.reference)
    return tuple(
        ClipFacts(
            id=each.id,
            name=each.name,
            identity=each.identity,
            frames=each.film.frames,
            fps=float(each.film.fps),
            video=video(each.film),
        )
        for each in subjects.values()
    )


def _cell(found: _Found, video: Callable[[Film], str]) -> CellFacts:
    cell, row, values = found.cell, found.row, found.values
    return CellFacts(
        id=cell.id,
        case=cell.case.id,
        method=cell.method,
        mode=cell.mode,
        clip=cell.subject.id,
        reference=cell.reference.id if cell.reference else "",
        light=found.light,
        outcome=row.outcome,
        reason=row.reason,
        output=row.film.digest if row.film else "",
        seconds_per_frame=row.seconds_per_frame,
        peak_bytes=row.peak_bytes,
        values=values.means,
        gaps=values.gaps,
        missing=values.missing,
        video=video(row.film) if row.film else "",
    )


def _sets(
    metric: SetMetric, found: Sequence[_Found], methods: Sequence[MethodFacts], places: Places
) -> list[SetFacts]:
    """Of each method that could run."""
    facts: list[SetFacts] = []
    for mode in _modes(found):
        each_of = {
            method.name: [
                (each.cell, each.row)
                for each in found
                if (each.cell.method, each.cell.mode) == (method.name, mode)
            ]
            for method in methods
            if not method.unavailable
        }
        facts += set_values(metric, each_of, mode, places.features)
    return facts


def _traces(
    found: Sequence[_Found], metrics: Sequence[MetricFacts], methods: Sequence[MethodFacts]
) -> tuple[TraceFacts, ...]:
    """Means over time, of metrics that have more than one value a film."""
    traces = []
    for mode in _modes(found):
        for metric in metrics:
            for method in methods:
                films = [
                    each.values.frames[metric.name]
                    for each in found
                    if (each.cell.method, each.cell.mode) == (method.name, mode)
                    and metric.name in each.values.frames
                ]
                values = mean_trace(films)
                if len(values) > 1:
                    traces.append(
                        TraceFacts(
                            method=method.name, metric=metric.name, mode=mode, values=[*values]
                        )
                    )
    return tuple(traces)


def _modes(found: Sequence[_Found]) -> list[Mode]:
    return sorted({each.cell.mode for each in found})
