"""A benchmark's report in every form, beside its record and its films."""

from dataclasses import dataclass
from pathlib import Path

from evaluation.records.record import Record
from evaluation.report.csv import csv_text
from evaluation.report.latex import latex
from evaluation.report.markdown import markdown
from evaluation.report.page import write_report_page
from infra.storage import write_atomic


@dataclass(frozen=True)
class Report:
    """Where a report lies.

    Attributes:
        page: HTML, to be looked at.
        markdown: Headline tables.
        latex: The same for a paper.
        csv: All numbers.
    """

    page: Path
    markdown: Path
    latex: Path
    csv: Path


def write_report(record: Record, folder: Path, *, before: Record | None = None) -> Report:
    """Write ``report.html``, ``report.md``, ``report.tex`` and ``report.csv``.

    The same record, with the same films, gives the same bytes. No reader sees a part of a file.

    Args:
        record: All that is told.
        folder: Of the report; the record's films lie in it, by their relative paths.
        before: A previous record that this one is held against, on the page.

    Raises:
        LakeError: The disk is full or read-only.
    """
    texts = {".md": markdown(record), ".tex": latex(record), ".csv": csv_text(record)}
    page = write_report_page(record, folder / "report.html", before=before)
    for suffix, text in texts.items():
        write_atomic(page.with_suffix(suffix), text.encode(), point="report")
    return Report(page, *(page.with_suffix(suffix) for suffix in texts))
