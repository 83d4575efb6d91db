"""A record's tables as LaTeX, for the package booktabs."""

import re

from evaluation.records.record import Record
from evaluation.report.headline import all_tables
from evaluation.report.tables import EMBEDDED, INTERVALS, PUBLISHED, Column, Entry, Table

_NEEDS = r"% needs \usepackage{booktabs,textcomp} and \usepackage[T1]{fontenc}"
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    **{character: f"\\{character}" for character in "{}$&#_%"},
}


def latex(record: Record) -> str:
    """The headline tables and ablations, each a ``table`` to be put into a paper."""
    return "\n".join([_NEEDS, *map(_table, all_tables(record))])


def escape(text: str) -> str:
    """Text that LaTeX sets as it is; control characters become spaces."""
    line = " ".join(re.sub(r"[\x00-\x1f\x7f\u2028\u2029]", " ", text).split())
    plain = "".join(_SPECIAL.get(character, character) for character in line)
    return re.sub(r"-(?=-)", "-{}", plain)  # else it would be a dash


def _table(table: Table) -> str:
    heads = [_head(column) for column in table.columns]
    rows = [_row(["Method", *heads]), r"\midrule"]
    for line in table.lines:
        rows.append(_row([escape(line.name), *map(_value, line.entries)]))
        rows.append(_row(["", *map(_spread, line.entries)]))
    if table.published:
        rows.append(r"\midrule")
        rows += [
            _row(
                [f"\\textit{{{escape(name)} (as published)}}", *(value or "--" for value in values)]
            )
            for name, values in table.published
        ]
    notes = ["Best in bold, second best underlined.", escape(INTERVALS)]
    notes += [escape(note) for note in (table.whole, table.gaps) if note]
    if table.source:
        notes.append(f"{escape(table.source)}: {escape(PUBLISHED)}.")
    if table.stand_ins:
        notes.append(f"$\\dagger$: {escape(EMBEDDED)}: {escape(table.stand_ins)}.")
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            f"\\caption{{{escape(table.title)}. {' '.join(notes)}}}",
            f"\\begin{{tabular}}{{l*{{{len(table.columns)}}}{{c}}}}",
            r"\toprule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _head(column: Column) -> str:
    dagger = r"$^{\dagger}$" if column.embedded else ""
    arrow = r"$\uparrow$" if column.higher_is_better else r"$\downarrow$"
    return f"{escape(column.heading)}{dagger} {arrow}"


def _row(cells: list[str]) -> str:
    return f"{' & '.join(cells)} \\\\"


def _value(entry: Entry) -> str:
    if entry.value is None:
        return "--"
    number = f"${entry.text}$" if entry.value < 0 else entry.text
    return {1: f"\\textbf{{{number}}}", 2: f"\\underline{{{number}}}"}.get(entry.place, number)


def _spread(entry: Entry) -> str:
    if not entry.count:
        return ""
    told = f"{entry.interval} " if entry.interval else ""
    lacking = f", {escape(entry.lacking)}" if entry.lacking else ""
    return f"{{\\scriptsize ${told}_{{{entry.count.replace(' of ', '/')}}}${lacking}}}"
