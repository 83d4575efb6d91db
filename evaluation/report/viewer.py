"""What the page's viewer plays: the films of each case, side by side."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from evaluation.records.facts import CellFacts
from evaluation.records.record import Record

EMBED_BYTES = 8 << 20
"""Films and pictures of up to so many bytes together are put into the page itself."""

_KINDS = {".webm": "video/webm", ".mkv": "video/x-matroska", ".png": "image/png"}


def viewer(record: Record, folder: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """What the viewer plays, files by their number in ``urls``; and each case's number in it.

    Args:
        record: Of the benchmark.
        folder: Of the report; a film or picture that does not lie in it is left out.
    """
    lights = {light.name: light.picture for light in record.lights}
    named = {clip.video for clip in record.clips} | {cell.video for cell in record.cells}
    named |= {*lights.values()}
    files = {name: folder / name for name in sorted(named - {""}) if (folder / name).is_file()}
    embed = sum(path.stat().st_size for path in files.values()) <= EMBED_BYTES
    numbers = {name: number for number, name in enumerate(files)}
    grouped: dict[str, list[CellFacts]] = {}
    for cell in record.cells:
        if cell.video in files:
            grouped.setdefault(cell.case, []).append(cell)
    told = {
        "urls": [_url(name, path, embed) for name, path in files.items()],
        "cases": [_case(record, cells, numbers, lights) for cells in grouped.values()],
    }
    return told, {case: number for number, case in enumerate(grouped)}


def clip_name(record: Record, cell: CellFacts) -> str:
    """Name of the driving clip, and of the portrait's where there is another."""
    name = record.clip(cell.clip).name
    return f"{record.clip(cell.reference).name} driven by {name}" if cell.reference else name


def _case(
    record: Record, cells: list[CellFacts], numbers: Mapping[str, int], lights: Mapping[str, str]
) -> dict[str, Any]:
    first, driving = cells[0], record.clip(cells[0].clip)
    shown = [("light", lights.get(first.light, ""), "picture")]
    if first.reference:
        shown.append(("portrait", record.clip(first.reference).video, "still"))
    shown.append(("driving", driving.video, "film"))
    shown += [(cell.method, cell.video, "film") for cell in cells]
    light = f" · light {first.light}" if first.light else ""
    return {
        "title": f"{clip_name(record, first)}{light}",
        "fps": driving.fps,
        "films": [
            {"title": title, "film": numbers[file], "kind": kind}
            for title, file, kind in shown
            if file in numbers
        ],
    }


def _url(name: str, path: Path, embed: bool) -> str:
    if not embed:
        return quote(name)
    kind = _KINDS.get(path.suffix, "video/mp4")
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
