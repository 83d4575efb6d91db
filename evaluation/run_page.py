"""A look at a training run: its losses, its speed, what it generates, and what was relit by it."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from PIL import Image

from evaluation.pages import write_page
from evaluation.plots import Plot, curves
from evaluation.strips import data_url
from infra.errors import UsageError
from training.loop.folder import RunFolder, read_log
from training.loop.request import read_request
from training.recipe import Recipe

_SMOOTHING = 0.05
"""Share of a run's steps over which its training loss is averaged for the plot."""

_SHEET_WIDTH = 1120


@dataclass(frozen=True)
class Relit:
    """A film that was relit by the run's model.

    Attributes:
        title: What is to be seen.
        film: An MP4 file, shown in the page.
        details: Terms and values.
    """

    title: str
    film: Path
    details: Sequence[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class _Sheet:
    step: int
    url: str
    width: int
    height: int


def write_run_page(
    folder: RunFolder, out: Path, *, relit: Sequence[Relit] = (), findings: Sequence[str] = ()
) -> Path:
    """Write the page of a run, finished or not.

    Args:
        folder: The run's.
        out: The HTML file to write.
        relit: Films to be shown, relit by its model.
        findings: What was measured of them, a sentence each.

    Returns:
        ``out``.

    Raises:
        UsageError: The folder holds no run, or it has not taken a step yet.
    """
    request = read_request(folder.request)
    steps = read_log(folder.log, "step")
    if not steps:
        raise UsageError(
            f"{folder.root} has not taken a step yet", hint=f"limelight train {request.release}"
        )
    validations = read_log(folder.log, "validation")
    ending = folder.ending()
    return write_page(
        "run.html.j2",
        out,
        name=folder.root.name,
        subtitle=f"{request.recipe.name} on {request.release} {request.version}",
        state="running, or killed" if ending is None else ending["reason"],
        message="" if ending is None else ending["message"],
        fell=fall(validations),
        findings=findings,
        details=_details(request.recipe, steps, read_log(folder.log, "start")),
        plots=_plots(steps, validations),
        sheets=_sheets(folder.previews),
        films=[(each, _film_url(each.film)) for each in relit],
        events=[row["message"] for row in read_log(folder.log, "event")],
        lost=_lost(read_log(folder.log, "lost")),
    )


def fall(validations: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """How far the portrait's loss fell from the first validation to the last.

    Returns:
        ``first``, ``last``, ``share`` (of the first that is gone), ``split`` and ``held_out``; None
        where there were fewer than two.
    """
    if len(validations) < 2:
        return None
    first, last = validations[0], validations[-1]
    return {
        "first": first["portrait"],
        "last": last["portrait"],
        "share": 1 - last["portrait"] / first["portrait"],
        "split": last["split"],
        "held_out": last["held_out"],
    }


def _details(
    recipe: Recipe, steps: Sequence[Mapping[str, Any]], starts: Sequence[Mapping[str, Any]]
) -> list[tuple[str, str]]:
    seconds = sum(row["seconds"] for row in steps)
    utilised = [row["mfu"] for row in steps if "mfu" in row]
    details = [
        (
            "steps",
            f"{steps[-1]['step']:,} of {recipe.run.steps:,}, {recipe.run.batch} samples each",
        ),
        ("time in steps", f"{seconds:,.0f} s"),
        ("samples a second", f"{median(row['clips_per_second'] for row in steps):.3g}"),
        ("waiting for data", f"{100 * median(row['wait'] for row in steps):.1f}%"),
        ("most memory of a rank", f"{max(row['memory_bytes'] for row in steps) / 1e9:.2f} GB"),
    ]
    if utilised:
        details.append(("model FLOP utilisation", f"{100 * median(utilised):.0f}%"))
    if starts:
        start = starts[-1]
        ranks = f"{start['ranks']} rank{'s' if start['ranks'] > 1 else ''} on {start['device']}"
        details.append(("ran on", f"{ranks}, ZeRO {start['zero']}, {start['precision']}"))
    if len(starts) > 1:
        details.append(("started", f"{len(starts)} times"))
    return details


def _lost(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """Damaged samples: key, what each was left out of, and why.

    Training tells of each as it comes upon it; validation of all of its own, anew where they
    changed.
    """
    validation = [row for row in rows if "split" in row][-1:]
    training = [row for row in rows if "split" not in row]
    return [
        (key, place, reason)
        for place, told in (("training", training), ("validation", validation))
        for row in told
        for key, reason in row["samples"]
    ]


def _plots(
    steps: Sequence[Mapping[str, Any]], validations: Sequence[Mapping[str, Any]]
) -> list[Plot]:
    places = [row["step"] for row in steps]
    smooth = _running_mean([row["loss"] for row in steps])
    plots = [curves({"loss": (places, smooth)}, ("step", "loss"), "Training loss, smoothed")]
    if validations:
        whole = "Loss on held-out clips" if validations[-1]["held_out"] else "Loss on trained clips"
        at = [row["step"] for row in validations]
        series = {
            "portrait": (at, [row["portrait"] for row in validations]),
            "whole picture": (at, [row["full"] for row in validations]),
        }
        caption = f"{whole}, by the averaged weights"
        plots.append(curves(series, ("step", "loss"), caption, marked=True))
    if len(validations) > 1:
        series = {
            f"step {row['step']}": (np.log10(row["sigmas"]).tolist(), row["portraits"])
            for row in (validations[0], validations[-1])
        }
        labels = ("noise level, log10", "portrait's loss")
        plots.append(curves(series, labels, "The same by noise level, first and last", marked=True))
    return plots


def _running_mean(values: Sequence[float]) -> list[float]:
    """Means over the values before each and itself, so that the curve starts where the run does."""
    width = max(round(_SMOOTHING * len(values)), 1)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    begins = np.maximum(ends - width, 0)
    means: list[float] = ((sums[ends] - sums[begins]) / (ends - begins)).tolist()
    return means


def _sheets(previews: Path) -> list[_Sheet]:
    """The first contact sheet of the run, and the last."""
    paths = sorted(previews.glob("step-*.png"))
    return [_sheet(path) for path in dict.fromkeys((*paths[:1], *paths[-1:]))]


def _sheet(path: Path) -> _Sheet:
    with Image.open(path) as image:
        picture = np.asarray(image.convert("RGB"))
    if picture.shape[1] > _SHEET_WIDTH:
        height = round(picture.shape[0] * _SHEET_WIDTH / picture.shape[1])
        picture = cv2.resize(picture, (_SHEET_WIDTH, height), interpolation=cv2.INTER_AREA)
    height, width = picture.shape[:2]
    return _Sheet(int(path.stem.split("-")[1]), data_url(picture), width, height)


def _film_url(path: Path) -> str:
    return f"data:video/mp4;base64,{base64.b64encode(path.read_bytes()).decode()}"
