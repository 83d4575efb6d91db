"""What a benchmark tells in the end: its record with what people said, its report, its ending."""

import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from evaluation.protocols.cases import Prepared
from evaluation.records.compare import Comparison
from evaluation.records.facts import MethodFacts, Provenance
from evaluation.records.opinions import opinions
from evaluation.records.record import Record, read_record, write_record
from evaluation.report.write import Report, write_report
from evaluation.study.from_record import study_cells
from evaluation.study.plan import write_cells
from evaluation.study.summary import summarise_study
from flows.benchmarks import BenchmarkFolder
from infra.engine.base import Lost
from infra.weights import identity

_PACKAGES = ("limelight", "numpy", "scipy", "torch", "onnxruntime", "av")


@dataclass(frozen=True)
class BenchmarkRun:
    """What became of a benchmark.

    Attributes:
        name: Its name.
        record: The record.
        page: The report.
        methods: A row a method, as in `flows.scores.Scores.rows`.
        cells: Cells by what became of them.
        unavailable: Why a method was not judged, by its name.
        reasons: Why films of a method failed, by its name: of the first of them.
        left_out: Why a clip was not judged, by its name.
        unmeasured: Why a metric was not measured, by its key.
        worse: What is worse than in the previous record, or lost; a line each.
        seconds: Wall time.
    """

    name: str
    record: str
    page: str
    methods: list[dict[str, Any]]
    cells: dict[str, int]
    unavailable: dict[str, str]
    reasons: dict[str, str]
    left_out: dict[str, str]
    unmeasured: dict[str, str]
    worse: list[str]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        return asdict(self)


def reasons(record: Record) -> dict[str, str]:
    """Why films failed: the first reason of each method that has any."""
    found: dict[str, str] = {}
    for cell in record.cells:
        if cell.outcome == "failed":
            found.setdefault(cell.method, cell.reason)
    return found


def publish(record: Record, folder: BenchmarkFolder, before: Record | None = None) -> Record:
    """Write a record, with what people said so far, its report, and the study's list.

    Args:
        record: What was found; its films lie in the folder.
        folder: The benchmark's.
        before: A previous record that it is held against.

    Returns:
        The record as it was written.
    """
    write_cells(folder.root, study_cells(record))
    said = summarise_study(folder.root)
    if said:
        study = opinions(said, [method.name for method in record.methods])
        record = record.model_copy(update={"study": study})
    # As it is read again: so its report is the same whoever writes it, and whenever.
    record = read_record(write_record(record, folder.record))
    report(record, folder, before)
    return record


def report(record: Record, folder: BenchmarkFolder, before: Record | None = None) -> Report:
    """Write the report of a record in every form."""
    return write_report(record, folder.root, before=before)


def worse(comparison: Comparison) -> list[str]:
    """What is worse than before, or lost, a line each; or that nothing could be compared."""
    if not comparison.judged:
        return ["nothing could be held against that record: no method, clip and metric is in both"]
    changes = [
        f"{change.method}, {change.metric}: {change.before:.4g} -> {change.after:.4g}"
        f" ({change.reason})"
        for change in comparison.changes
        if change.verdict == "worse" and change.before is not None and change.after is not None
    ]
    return [*changes, *comparison.lost]


def provenance(
    prepared: Prepared, methods: Sequence[MethodFacts], weights: Iterable[str]
) -> Provenance:
    """What a benchmark came from.

    Args:
        prepared: Its protocol, and whose clips.
        methods: What was judged.
        weights: Names of the weights that cut clips and find lights; methods name their own.
    """
    origin = prepared.origin
    named = " ".join(str(origin[key]) for key in ("release", "version") if key in origin)
    return Provenance(
        release=named or str(origin.get("folder", "")),
        seal=str(origin.get("digest", "")),
        checkpoints={
            method.name: str(method.options["model"])
            for method in methods
            if method.options.get("model") and not method.unavailable
        },
        weights={
            **{name: identity(name) for name in weights},
            **{name: digest for method in methods for name, digest in method.weights.items()},
        },
        seeds={"protocol": prepared.protocol.seed},
        versions={name: found for name in _PACKAGES if (found := _version(name))},
        run={
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
            "python": platform.python_version(),
        },
    )


def lost_words(lost: Lost) -> str:
    """Why a worker was lost over an item, in words, with the end of what it printed."""
    what = {
        "died": "its process died",
        "hung": "it hung, and was ended",
        "memory": "it used up its memory",
        "raised": "it raised an error",
    }[lost.kind]
    words = f"{what}: {lost.error}: {lost.message}" if lost.message else f"{what}: {lost.error}"
    return f"{words} (at: {lost.note})" if lost.note else words


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
