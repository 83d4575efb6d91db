"""A record's numbers as one tidy CSV file: a row a number."""

import csv
import io

from evaluation.records.record import Record
from evaluation.report.headline import headline

COLUMNS = (
    *("kind", "mode", "method", "clip", "identity", "light", "outcome"),
    *("metric", "estimator", "grade", "value", "low", "high", "n", "missing", "gaps", "note"),
)
"""`kind` is `summary` for a method's number of the headline table, `clip` for a cell's; `gaps` is
the share of frames without a value."""


def csv_text(record: Record) -> str:
    """All numbers: those of the headline table first, then those of each cell.

    Numbers are written in full; a text that a spreadsheet would take for a formula begins with an
    apostrophe.
    """
    out = io.StringIO()
    writer = csv.DictWriter(
        out, COLUMNS, restval="", lineterminator="\n", quoting=csv.QUOTE_MINIMAL
    )
    writer.writeheader()
    for row in (*_summaries(record), *_cells(record)):
        writer.writerow({key: _field(value) for key, value in row.items()})
    return out.getvalue()


def escape(text: str) -> str:
    """Text that no spreadsheet runs: of one line, and never the beginning of a formula."""
    line = " ".join(text.replace("\0", " ").split())
    return f"'{line}" if line.startswith(tuple("=+-@＝＋－＠")) else line


def _field(value: str | float | None) -> str:
    if value is None:
        return ""
    return escape(value) if isinstance(value, str) else repr(value)


def _summaries(record: Record) -> list[dict[str, str | float | None]]:
    rows: list[dict[str, str | float | None]] = []
    for mode in record.modes():
        table = headline(record, mode)
        for line in table.lines:
            for column, entry in zip(table.columns, line.entries, strict=True):
                rows.append(
                    {
                        "kind": "summary",
                        "mode": mode,
                        "method": line.name,
                        "metric": column.key,
                        "estimator": column.estimator,
                        "grade": "embedded" if column.embedded else "standard",
                        "value": entry.value,
                        "low": entry.low,
                        "high": entry.high,
                        "n": entry.n,
                        "missing": entry.missing,
                        "gaps": entry.gaps,
                        "note": entry.warning or line.unavailable,
                    }
                )
    return rows


def _cells(record: Record) -> list[dict[str, str | float | None]]:
    rows: list[dict[str, str | float | None]] = []
    for cell in record.cells:
        said: dict[str, str | float | None] = {
            "kind": "clip",
            "mode": cell.mode,
            "method": cell.method,
            "clip": record.clip(cell.clip).name,
            "identity": record.identity(cell),
            "light": cell.light,
            "outcome": cell.outcome,
            "note": cell.reason,
        }
        rows += [
            said
            | {
                "metric": metric.name,
                "estimator": metric.estimator,
                "grade": metric.grade,
                "value": cell.values[metric.name],
                "gaps": cell.gaps.get(metric.name, 0.0),
                "note": cell.missing.get(metric.name, cell.reason),
            }
            for metric in record.metrics
            if metric.name in cell.values
        ] or [said]
    return rows
