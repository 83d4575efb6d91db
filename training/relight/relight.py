"""Relighting a video: a portrait, a driving video and a light in; a film with its sound out.

The parts of the work, by the names under which progress is told: `track` the face through the
film, `fit` its shape and light, `draw` what drives the portrait, `sample` the portraits' latents,
`write` the film (decode, matte, paste, encode). Frames are decoded anew for each part that asks
for them, and no part holds more than a few: but for landmarks and latents, memory does not grow
with the film.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain, repeat, tee
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from infra.errors import UsageError
from stages.geometry import GEOMETRY_MODELS, GeometryConfig
from stages.kpmap import draw_keypoints
from stages.matting import MattingModel, matting_model
from stages.models.light import main_direction
from training.diffusion.branches import Driving
from training.model.folder import LoadedModel
from training.relight.composite import (
    Look,
    Weights,
    composited,
    everywhere,
    over_own_ground,
    over_still_ground,
)
from training.relight.conditions import DrawnConditions, Picture
from training.relight.crop import FIT_SIZE
from training.relight.facts import caption_of, choices, coefficients, in_words
from training.relight.film import DrivingFilm
from training.relight.generate import Generator
from training.relight.light import (
    LightLike,
    Scene,
    allowed_lights,
    between,
    keyframes,
    light_files,
)
from training.relight.options import RelightOptions
from training.relight.quotient import chosen_detail, light_laid_over
from training.relight.results import RelightResult, Results, disk_errors, names_of
from training.relight.subject import FaceReader, Progress, Subject


def relight(
    model: LoadedModel,
    driving: Path,
    output: Path,
    *,
    reference: Path | None = None,
    light: LightLike | None = None,
    options: RelightOptions = RelightOptions(),  # noqa: B008 - frozen
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> RelightResult:
    """Relight a video, or let a portrait move as a video does under a light of one's own.

    Args:
        model: Generates the portrait, on its own device and in its own precision.
        driving: A film, or a picture, which stands still; its rate and sound are kept.
        output: The MP4 file to be made; grid, sheet and record come beside it.
        reference: A portrait. Without, or with the driving video's own path, the video itself is
            relit: its face, in its frames.
        light: See `training.relight.light.lights`; needed in mode `relight`, and no other.
        options: Everything else.
        progress: Told what is done.
        cancelled: Asked again and again while sampling whether to end.

    Raises:
        UsageError: Something that is asked for cannot be done; the message says what can.
        SourceError: A file is not there, or may not be read.
        LakeError: The disk of the output is full, or may not be written.
        WeightsError: A model's weights are missing, or are others.
        training.diffusion.sample.SamplingCancelledError: ``cancelled`` said so.
    """
    options.check(model.recipe)
    wanted = _wanted(light, options)
    _check_output(output, [driving, reference, *light_files(wanted)])
    if reference is not None and reference.resolve() == driving.resolve():
        reference = None
    detail = chosen_detail(
        options.detail,
        model.recipe.sampling.detail,
        relit=options.mode == "relight",
        reference=reference is not None,
        background=options.background,
    )
    film = DrivingFilm(driving, options.frames)
    geometry = options.geometry or trained_geometry(model.facts)
    reader = FaceReader(options.landmarks, geometry)
    keyframes(wanted, _nowhere(reader), options.intensity)  # what is wrong with it shows at once
    clock = _Clock(progress)
    subject = reader.subject(film, reference, options.align, clock)
    stops = keyframes(wanted, _scene(subject, reader), options.intensity)
    path = between(stops, len(subject))
    matting = matting_model(options.matting)
    (matte,) = matting.masks([subject.portrait], FIT_SIZE)
    generator = Generator(model, subject.portrait, matte, seed=options.seed)
    with (
        disk_errors(output),
        Results(output) as results,
        DrawnConditions(generator.size, results.room) as conditions,
    ):
        _draw(conditions, reader, subject, path, options.stream, clock)
        portraits = _generated(generator, conditions, subject, options, clock, cancelled)
        raw: Iterator[Picture] | None = None
        if detail == "original":
            generated = portraits
            if options.grid:  # which shows both, so that neither runs far ahead
                generated, raw = tee(portraits)
            with DrawnConditions(generator.size, results.room) as own:
                _draw(own, reader, subject, subject.geometry.light, options.stream, clock)
                unlit = _generated(generator, own, subject, options, clock, cancelled)
            squares = (subject.square.cut(frame) for frame in film)
            portraits = light_laid_over(squares, unlit, generated)
        looks = zip(subject.grounds(), portraits, strict=True)
        weigh = _weighing(subject, matte, matting, options)
        shown = composited(looks, subject.square, weigh)
        beside: Iterable[tuple[Picture, ...] | None] = repeat(None, len(subject))
        if options.grid:
            middle = () if raw is None else ("generated",)
            captions = ("reference", "driver", caption_of(wanted, options.mode), *middle, "result")
            results.add_grid(captions, fps=film.fps, frames=len(subject))
            beside = _beside(subject, conditions, options.stream, raw)
        _write(results, shown, beside, subject, options.crf, clock)
        facts = {
            "driving": str(driving),
            "reference": None if reference is None else str(reference),
            "light": in_words(wanted),
            "light_direction": main_direction(path),
            "coefficients": coefficients(stops, path),
            **choices(model, options, geometry),
            "detail": detail,
            "model": model.digest,
            "frames": len(subject),
            "fps": f"{film.fps.numerator}/{film.fps.denominator}",
            "sound": results.sound,
            **subject.facts,
            "seconds": clock.stop(),
        }
        return results.publish(facts)


def trained_geometry(facts: Mapping[str, Any], wanted: str = "") -> GeometryConfig:
    """What drew the shading that a model was trained with, as its facts tell.

    A build's default, where they tell nothing.

    Args:
        facts: What is known of the model (`LoadedModel.facts`).
        wanted: Name of a geometry model. If it is the one that they tell of, the region that they
            tell is drawn, too: the model knows no other. Else it draws what a build's would.

    Raises:
        UsageError: What they tell is not known here.
    """
    told = facts.get("geometry")
    if isinstance(told, str):  # as models of before had it
        told = {"model": told}
    if not isinstance(told, Mapping) or told.get("model") not in GEOMETRY_MODELS:
        told = {"model": wanted or GeometryConfig().model}
    elif wanted not in ("", told["model"]):
        told = {"model": wanted}
    deca = {"region": told["region"]} if "region" in told else {}
    try:
        return GeometryConfig.model_validate({"model": told["model"], "deca": deca})
    except ValidationError as error:
        raise UsageError(
            f"the model was trained with the geometry {dict(told)}, which is not known here",
            hint="choose another with --geometry",
        ) from error


def _generated(
    generator: Generator,
    conditions: DrawnConditions,
    subject: Subject,
    options: RelightOptions,
    progress: Progress,
    cancelled: Callable[[], bool] | None,
) -> Iterator[Picture]:
    """Squares (S, S, 3) of all frames, decoded as they are asked for."""
    latents = generator.latents(
        conditions, len(subject), options, partial(progress, "sample"), cancelled
    )
    return generator.pictures(latents)


def _wanted(light: LightLike | None, options: RelightOptions) -> LightLike:
    if options.mode == "relight":
        if light is None:
            raise UsageError("--mode relight needs a --light", hint=allowed_lights())
        return light
    if light is not None and not (isinstance(light, str) and light == "reference"):
        raise UsageError(
            f"--mode {options.mode} takes the reference's own light, not {in_words(light)!r}",
            hint="leave --light out, or use --mode relight",
        )
    return "reference"


def _check_output(output: Path, sources: Iterable[Path | None]) -> None:
    """Make sure, before any work, that the results can be put where they shall be."""
    if output.suffix.lower() != ".mp4":
        raise UsageError(f"--output {output}: only .mp4 is written", hint=f"{output.stem}.mp4")
    used = {source.resolve() for source in sources if source is not None}
    for made in names_of(output):
        if made.resolve() in used:
            raise UsageError(
                f"--output {output} would overwrite {made}, which it is made of",
                hint="choose another name for the output",
            )
        if made.is_dir():
            raise UsageError(
                f"--output {output}: {made} is a folder", hint="choose another name for the output"
            )
    room = next(parent for parent in output.absolute().parents if parent.exists())
    if not room.is_dir() or not os.access(room, os.W_OK | os.X_OK):
        wrong = "may not be written" if room.is_dir() else "is no folder"
        raise UsageError(f"--output {output}: {room} {wrong}", hint="choose another folder")


def _nowhere(reader: FaceReader) -> Scene:
    """A scene that stands for one not yet seen."""
    return Scene(1, 1.0, np.ones((9, 3), np.float32), np.empty((0, 3), np.float32), reader.light)


def _scene(subject: Subject, reader: FaceReader) -> Scene:
    return Scene(
        frames=len(subject),
        fps=float(subject.film.fps),
        own=subject.own.light[0],
        normals=reader.normals(subject.own),
        fit=reader.light,
    )


def _draw(
    conditions: DrawnConditions,
    reader: FaceReader,
    subject: Subject,
    light: NDArray[np.float32],
    stream: Driving,
    progress: Progress,
) -> None:
    """Draw what drives the portrait; in the reference's slot, the reference as it is."""
    size, count = conditions.size, len(subject)
    if stream == "shading":
        moving = subject.geometry.under(light)
        drawings: Iterable[Picture] = chain(
            reader.shading(subject.own, size), reader.shading(moving, size)
        )
    else:
        points = chain([subject.own_points], subject.points)
        drawings = (draw_keypoints(each / np.float32(FIT_SIZE), size) for each in points)
    conditions.draw(stream, drawings, lambda done: progress("draw", done - 1, count))


def _weighing(
    subject: Subject, matte: NDArray[np.uint8], matting: MattingModel, options: RelightOptions
) -> Callable[[Iterable[Look]], Weights]:
    """How much of each portrait shows."""
    if options.background == "regenerate":
        return everywhere
    if subject.ground is None:
        return partial(over_own_ground, square=subject.square, matting=matting)
    return partial(over_still_ground, reference=matte, matting=matting)


def _beside(
    subject: Subject,
    conditions: DrawnConditions,
    stream: Driving,
    raw: Iterator[Picture] | None,
) -> Iterator[tuple[Picture, ...]]:
    """What the grid shows of each frame before the result; ``raw`` is what was generated."""
    # The driver is read by itself: on its way through the matting it may be frames ahead.
    for slot, driver in enumerate(subject.film, 1):
        made = () if raw is None else (next(raw),)
        drawn = conditions.picture(stream, slot)
        yield subject.portrait, subject.framing.cut(driver), drawn, *made


def _write(
    results: Results,
    shown: Iterable[Picture],
    beside: Iterable[tuple[Picture, ...] | None],
    subject: Subject,
    crf: int,
    progress: Progress,
) -> None:
    """Encode the film, its grid if there is something ``beside`` it, and its sound."""
    film, count = subject.film, len(subject)
    for done, (picture, row) in enumerate(zip(shown, beside, strict=True), 1):
        results.write(picture, fps=film.fps, crf=crf)
        if row is not None:
            results.write_row(*row, subject.square.cut(picture))
        progress("write", done, count)
    results.finish(film, count)


class _Clock:
    """Passes progress on, and counts the seconds of each part."""

    def __init__(self, tell: Progress | None) -> None:
        self._tell = tell
        self._seconds: dict[str, float] = {}
        self._part = "load"
        self._since = time.perf_counter()

    def __call__(self, part: str, done: int, total: int | None) -> None:
        if part != self._part:
            self._turn(part)
        if self._tell is not None:
            self._tell(part, done, total)

    def stop(self) -> dict[str, float]:
        """Seconds by part, rounded."""
        self._turn("")
        return {part: round(seconds, 3) for part, seconds in self._seconds.items()}

    def _turn(self, part: str) -> None:
        now = time.perf_counter()
        self._seconds[self._part] = self._seconds.get(self._part, 0.0) + now - self._since
        self._part, self._since = part, now
