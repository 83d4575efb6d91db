"""A record's tables as Markdown."""

import re
from collections.abc import Sequence

from evaluation.records.record import Record
from evaluation.report.tables import EMBEDDED, INTERVALS, Entry, Table, all_tables


def markdown(record: Record) -> str:
    """The headline tables and ablations, with their footnotes."""
    parts = [f"# {escape(record.name)}"]
    for table in all_tables(record):
        parts += _table(table)
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Text that Markdown shows as it is, on one line, in a table's cell too."""
    line = " ".join(re.sub(r"[\x00-\x1f\x7f\u2028\u2029]", " ", text).split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]()#+!|~$@:=\"'^])", r"\\\1", line)


def _table(table: Table) -> list[str]:
    heads = [
        f"{escape(column.heading)}{'†' if column.embedded else ''} {column.arrow}"
        for column in table.columns
    ]
    rows = [_row(["Method", *heads]), _row(["---", *("---:" for _ in heads)])]
    rows += [_row([escape(line.name), *map(_entry, line.entries)]) for line in table.lines]
    rows += [
        _row([f"*{escape(name)} (published)*", *(value or "–" for value in values)])
        for name, values in table.published
    ]
    parts = [f"## {escape(table.title)}", "\n".join(rows)]
    parts.append(f"Best in bold, second best underlined. {INTERVALS}")
    if table.source:
        parts.append(f"Published: {escape(table.source)}; only beside the same estimator.")
    stand_ins = [column for column in table.columns if column.embedded]
    if stand_ins:
        named = ", ".join(f"{escape(c.title)}: {escape(c.estimator)}" for c in stand_ins)
        parts.append(f"† {EMBEDDED} ({named}).")
    notes = [
        f"- ⚠ {escape(title)}: {escape(warning)} ({escape(methods)})"
        for title, warning, methods in table.warnings
    ]
    notes += [
        f"- {escape(line.name)} could not run: {escape(line.unavailable)}"
        for line in table.lines
        if line.unavailable
    ]
    return parts + (["\n".join(notes)] if notes else [])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _entry(entry: Entry) -> str:
    if entry.value is None:
        return "–"
    value = {1: f"**{entry.text}**", 2: f"<u>{entry.text}</u>"}.get(entry.place, entry.text)
    flag = " ⚠" if entry.warning else ""
    return " ".join(part for part in (value + flag, entry.interval, entry.count) if part)
