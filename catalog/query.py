"""Questions to the catalog, in SQL."""

import json
import re
from collections.abc import Callable

import duckdb
import pyarrow as pa

from catalog import clips, members, outcomes
from catalog.lake import Lake
from catalog.release import CURRENT, INDEX, Release
from catalog.tables import connect, last_rows, literal, quoted, view
from infra.errors import UsageError

VIEWS = {
    "clips": "one row per clip and place where it was seen",
    "outcomes": "one row per (clip, stage, fingerprint): how it ended",
    "outcomes_all": "every row ever written, superseded and void ones too",
    "members": "one row per build and clip: label, identity, split",
    "releases": "one row per release and version: digest, counts, whether it is current",
    "samples": "the index of every release's current version, a row a sample",
}
"""What can be asked, and what it is."""


def query(lake: Lake, sql: str) -> pa.Table:
    """The answer to one SELECT over the catalog (``VIEWS``), in DuckDB's SQL.

    The question can read the catalog's tables and nothing else: no other file, no network;
    and it can write nothing.

    Raises:
        UsageError: It is not one SELECT, or DuckDB does not understand it; the message names
            the tables that there are.
        LakeError: The lake's tables cannot be read.
    """
    spill = lake.root / "tmp" / "duckdb"
    with connect(spill) as connection:
        try:
            statements = connection.extract_statements(sql)
            if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
                raise UsageError("a question is one SELECT statement", hint=_hint())
            # Whatever word it might mean as a table: one made in vain costs only time.
            asked = set(re.findall(r"\w+", sql.lower()))
            paths = [
                path for name in VIEWS if name in asked for path in _MAKE[name](connection, lake)
            ]
            allowed = ", ".join(literal(path) for path in paths)
            connection.execute(f"set allowed_paths = [{allowed}]")
            connection.execute("set enable_external_access = false")
            connection.execute("set lock_configuration = true")
            return connection.sql(sql).to_arrow_table()
        except duckdb.Error as error:
            raise UsageError(f"the question cannot be answered: {error}", hint=_hint()) from error


def _hint() -> str:
    return "the tables are " + ", ".join(VIEWS) + "; their columns: DESCRIBE <table>"


def _clips(connection: duckdb.DuckDBPyConnection, lake: Lake) -> list[str]:
    paths = [file.path for file in lake.clips.table.files()]
    view(connection, "clip_rows", paths, clips.SCHEMA)
    last_rows(connection, "clips", "clip_rows", clips.SCHEMA, clips.KEYS, clips.LAST_FIRST)
    return [str(path) for path in paths]


def _outcomes_all(connection: duckdb.DuckDBPyConnection, lake: Lake) -> list[str]:
    paths = [file.path for file in lake.outcomes.table.files()]
    view(connection, "outcome_rows", paths, outcomes.SCHEMA)
    columns = ", ".join(quoted(name) for name in outcomes.SCHEMA.names)
    connection.execute(f"create view outcomes_all as select {columns} from outcome_rows")
    return [str(path) for path in paths]


def _outcomes(connection: duckdb.DuckDBPyConnection, lake: Lake) -> list[str]:
    # Stage by stage, for the sake of memory: keys of one stage are a seventh of all keys.
    files = lake.outcomes.table.files()
    stages = sorted({file.partition["stage"] for file in files}) or [""]
    for number, stage in enumerate(stages):
        paths = [file.path for file in files if file.partition["stage"] == stage]
        view(connection, f"stage_{number}", paths, outcomes.SCHEMA)
        outcomes.last_outcomes(connection, f"outcomes_{number}", f"stage_{number}")
    parts = " union all ".join(f"from outcomes_{number}" for number in range(len(stages)))
    connection.execute(f"create view outcomes as {parts}")
    return [str(file.path) for file in files]


def _members(connection: duckdb.DuckDBPyConnection, lake: Lake) -> list[str]:
    paths = [lake.releases / name / "members.parquet" for name in members.build_names(lake)]
    view(connection, "member_rows", paths, members.SCHEMA)
    connection.execute(
        f"create view members as select parse_path(filename)[-2] as release, "
        f"{', '.join(members.SCHEMA.names)} from member_rows"
    )
    return [str(path) for path in paths]


def _releases(connection: duckdb.DuckDBPyConnection, lake: Lake) -> list[str]:
    rows = []
    for pointer in sorted(lake.releases.glob(f"*/{CURRENT}")):
        name = pointer.parent.name
        current = json.loads(pointer.read_text())["version"]
        for version in Release.versions(lake, name):
            record = Release(pointer.parent / version).record
            counts = {key: value for key, value in record["counts"].items() if key != "splits"}
            rows.append(
                {
                    "release": name,
                    "version": version,
                    "current": version == current,
                    "digest": record["digest"],
                    **counts,
                }
            )
    schema = pa.schema(
        [
            ("release", pa.string()),
            ("version", pa.string()),
            ("current", pa.bool_()),
            ("digest", pa.string()),
            ("samples", pa.int64()),
            ("frames", pa.int64()),
            ("seconds", pa.float64()),
            ("identities", pa.int64()),
            ("bytes", pa.int64()),
        ]
    )
    connection.register("releases", pa.Table.from_pylist(rows, schema=schema))
    return []


def _samples(connection: duckdb.DuckDBPyConnection, lake: Lake) -> list[str]:
    paths = []
    for pointer in sorted(lake.releases.glob(f"*/{CURRENT}")):
        version = json.loads(pointer.read_text())["version"]
        paths.append(str(pointer.parent / version / INDEX))
    if paths:
        names = ", ".join(literal(path) for path in paths)
        connection.execute(
            "create view samples as select parse_path(filename)[-3] as release, "
            "parse_path(filename)[-2] as version, * exclude (filename) "
            f"from read_parquet([{names}], union_by_name = true, filename = true)"
        )
    else:
        connection.execute("create view samples as select null::varchar as release where false")
    return paths


_MAKE: dict[str, Callable[[duckdb.DuckDBPyConnection, Lake], list[str]]] = {
    "clips": _clips,
    "outcomes": _outcomes,
    "outcomes_all": _outcomes_all,
    "members": _members,
    "releases": _releases,
    "samples": _samples,
}
