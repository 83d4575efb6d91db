"""A record's tables as Markdown."""

import re
from collections.abc import Sequence

from evaluation.records.record import Record
from evaluation.report.headline import all_tables
from evaluation.report.tables import EMBEDDED, INTERVALS, PUBLISHED, Entry, Table


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
        _row([f"*{escape(name)} (as published)*", *(value or "–" for value in values)])
        for name, values in table.published
    ]
    parts = [f"## {escape(table.title)}", "\n".join(rows)]
    parts.append(f"Best in bold, second best underlined. {INTERVALS}")
    parts += [escape(note) for note in (table.whole, table.gaps) if note]
    if table.source:
        parts.append(f"{escape(table.source)}: {PUBLISHED}.")
    if table.stand_ins:
        parts.append(f"† {EMBEDDED}: {escape(table.stand_ins)}.")
    notes = [
        f"- ⚠ {escape(title)}: {escape(warning)} ({escape(methods)})"
        for title, warning, methods in table.warnings
    ]
    notes += [
        f"- {escape(line.name)} could not run: {escape(line.unavailable)}"
        for line in table.lines
        if line.unavailable
    ]
    notes += [
        f"- {escape(metric)} was not measured: {escape(reason)}"
        for metric, reason in table.unmeasured
    ]
    return parts + (["\n".join(notes)] if notes else [])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _entry(entry: Entry) -> str:
    value = {1: f"**{entry.text}**", 2: f"<u>{entry.text}</u>"}.get(entry.place, entry.text)
    flag = " ⚠" if entry.warning else ""
    said = (value + flag, entry.interval, entry.count, escape(entry.lacking))
    return " ".join(part for part in said if part)
