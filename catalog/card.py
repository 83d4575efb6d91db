"""What a release says of itself: counts and statistics, and the card for people."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from catalog.splits import SPLITS

MEASURED = {"frames": "frames", "duration": "seconds", "score": "quality score"}
"""Columns of the index that are described, and what they measure."""

_BINS = 10
_BAR = 32


def counts(index: pa.Table, shard_bytes: int) -> dict[str, Any]:
    """Samples, frames, seconds and identities: of all, and of each split (empty ones too).

    Args:
        index: The release's index.
        shard_bytes: Size of all shards together.
    """

    def of(part: pa.Table) -> dict[str, Any]:
        return {
            "samples": part.num_rows,
            "frames": pc.sum(part["frames"]).as_py() or 0,
            "seconds": round(pc.sum(part["duration"]).as_py() or 0.0, 3),
            "identities": pc.count_distinct(part["identity"]).as_py(),
        }

    splits = {split: of(index.filter(pc.field("split") == split)) for split in SPLITS}
    return {**of(index), "bytes": shard_bytes, "splits": splits}


def statistics(index: pa.Table) -> dict[str, Any]:
    """Range, mean, percentiles and a histogram of each measured column that has values."""
    described = {}
    for name in MEASURED:
        values = index[name].drop_null().to_numpy().astype(np.float64)
        if not values.size:
            continue
        numbers, edges = np.histogram(values, bins=_BINS)
        low, median, high = np.percentile(values, (5, 50, 95))
        described[name] = {
            "min": float(values.min()),
            "p5": float(low),
            "median": float(median),
            "mean": float(values.mean()),
            "p95": float(high),
            "max": float(values.max()),
            "histogram": {"counts": numbers.tolist(), "edges": edges.tolist()},
        }
    return described


def render_card(record: Mapping[str, Any]) -> str:
    """The README of a release, in Markdown.

    Args:
        record: What ``release.json`` holds (all but the card's own digest and the seal).
    """
    return (
        "\n\n".join(
            [
                f"# {record['name']}",
                "A dataset of relightable portraits, made by Limelight. "
                f"Version `{record['version']}`, digest `{record['digest']}`.",
                _counts(record["counts"]),
                *(_histogram(name, record["statistics"][name]) for name in record["statistics"]),
                _contents(record),
                _loading(record),
                _licences(record),
            ]
        )
        + "\n"
    )


def _counts(numbers: Mapping[str, Any]) -> str:
    lines = ["| split | samples | identities | frames | hours |", "|---|---:|---:|---:|---:|"]
    for name, part in [*numbers["splits"].items(), ("all", numbers)]:
        hours = part["seconds"] / 3600
        lines.append(
            f"| {name} | {part['samples']:,} | {part['identities']:,} | {part['frames']:,} "
            f"| {hours:,.2f} |"
        )
    text = "\n".join(lines)
    empty = [name for name, part in numbers["splits"].items() if not part["samples"]]
    if empty:
        text += (
            f"\n\nThe split {' and '.join(empty)} is empty: identities are divided by chance, "
            "and there are few of them."
        )
    return text + "\n\nNo identity is in two splits."


def _histogram(name: str, numbers: Mapping[str, Any]) -> str:
    counted, edges = numbers["histogram"]["counts"], numbers["histogram"]["edges"]
    lines = [
        f"## {name.capitalize()}",
        "",
        f"Median {numbers['median']:.4g} {MEASURED[name]}; from {numbers['min']:.4g} "
        f"to {numbers['max']:.4g}.",
        "",
        "```",
    ]
    for count, low, high in zip(counted, edges[:-1], edges[1:], strict=True):
        bar = "█" * round(_BAR * count / max(counted))
        lines.append(f"{low:>9.4g} .. {high:<9.4g} {count:>8,} {bar}".rstrip())
    return "\n".join([*lines, "```"])


def _contents(record: Mapping[str, Any]) -> str:
    members = "\n".join(f"- `<key>.{member}`" for member in record["members"])
    prints = "\n".join(f"| {stage} | `{mark}` |" for stage, mark in record["fingerprints"].items())
    return (
        f"## Contents\n\n{len(record['shards'])} tar shards in `shards/`; a sample's key is the "
        f"id of its source's content. Members of a sample:\n\n{members}\n\n"
        "`index.parquet` has a row a sample, with each member's offset and size in its shard.\n\n"
        f"| stage | fingerprint |\n|---|---|\n{prints}"
    )


def _loading(record: Mapping[str, Any]) -> str:
    shards = Counter(shard["split"] for shard in record["shards"])
    split = next((name for name in SPLITS if shards[name]), "train")
    return (
        "## Loading\n\n```python\nimport webdataset\n\n"
        f'shards = "shards/{split}-{{00000..{max(shards[split] - 1, 0):05d}}}.tar"\n'
        "for sample in webdataset.WebDataset(shards, shardshuffle=False):\n"
        '    video, mask = sample["video.mp4"], sample["mask.mp4"]\n```\n\n'
        "Or by SQL: `duckdb -c \"select split, sum(frames) from 'index.parquet' group by all\"`."
    )


def _licences(record: Mapping[str, Any]) -> str:
    lines = [
        f"| {name} | {weight['licence']} | `{weight['sha256']}` |"
        for name, weight in record["weights"].items()
    ]
    text = (
        "## Licences\n\nThe pictures belong to whoever owned the source clips, and people are "
        "seen in them: their licences and consent bind whoever uses this dataset."
    )
    if lines:
        table = "\n".join(["| weight | licence | sha256 |", "|---|---|---|", *lines])
        text += f" It was made with these weights:\n\n{table}"
    return text
