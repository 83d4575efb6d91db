"""LCVD: a checkpoint of ours, or the one that its authors published.

The portrait's square is judged as the model generated it, without the ground being put back: what
is cut for a benchmark is the square already.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, BinaryIO, Self, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from evaluation.methods.base import (
    FilmLike,
    Light,
    Method,
    MethodError,
    MethodOptions,
    Mode,
    Picture,
    Scratch,
)
from evaluation.methods.needs import (
    face_stages,
    lacking,
    packages_of_stages,
    versions_of_stages,
    weights_of_stages,
)
from infra.errors import LimelightError, UsageError
from infra.settings import load_settings
from stages.base import Stage
from stages.geometry import GeometryConfig
from stages.matting import MattingConfig, MattingModel, matting_model
from stages.models.faces import FaceModelName
from training.recipe.tables import Detail
from training.relight.align import Align

if TYPE_CHECKING:
    from training.model.folder import LoadedModel
    from training.relight.options import RelightOptions
    from training.relight.subject import FaceReader, Subject

_PACKAGES = ("torch", "safetensors", "diffusers", "transformers")

_A_FRAME, _A_FRAME_OF_GPU = 3600.0, 60.0
"""Seconds after which a frame is too late. A UNet of full size takes many minutes of a processor's
time for each, and a film is not to be given up while it is still being made."""


class LcvdOptions(MethodOptions):
    """Which model, and how it generates; what is left out is as the model's recipe has it."""

    model: str = ""
    """A model folder, a run's name, or `official`; without, that of the run that finished last."""
    lake: str = ""
    """Folder of the lake whose runs are looked at; without, the environment's."""
    detail: Detail | None = None
    """`generated`: the portrait as the model made it; `original`: the film's own pixels, with the
    model's change of light (`training.relight.quotient`), where the film itself is relit. Without,
    as the model's recipe has it."""
    align: Align = "so3"
    """How a film's motion is carried over to a portrait that is not in it."""
    guidance: float | None = Field(None, ge=0)
    """Weight of the light."""
    identity: float | None = Field(None, ge=0)
    """Weight of the reference."""
    steps: int | None = Field(None, ge=1)
    """Of sampling."""
    landmarks: FaceModelName = "mediapipe"
    """Name of the landmark model."""
    matting: MattingConfig = MattingConfig()
    """Matting model and its options, as in a build."""

    @property
    def runs(self) -> Path:
        """The lake's folder."""
        return Path(self.lake or load_settings().lake).absolute()

    def pinned(self) -> Self:
        """With the model's folder, or `official`: another run may have finished by tomorrow."""
        return self.model_copy(update={"lake": str(self.runs), "model": self._found()})

    def _found(self) -> str:
        if lacking(_PACKAGES, ()):
            return self.model
        from training.relight.models import OFFICIAL_NAME, find_model

        try:
            folder = find_model(self.runs, self.model)
        except UsageError:
            return self.model
        return str(folder.absolute()) if folder else OFFICIAL_NAME


@dataclass(frozen=True)
class _Chosen:
    """What is known of a model before it is loaded.

    Attributes:
        digest: Of its folder; empty for LCVD's own, whose weights are known by themselves.
        weights: Names of those that it takes from the registry.
        geometry: What draws the shading that it was trained with.
    """

    digest: str
    weights: tuple[str, ...]
    geometry: GeometryConfig


@dataclass(frozen=True)
class _Loaded:
    """What `Lcvd.setup` loads."""

    model: "LoadedModel"
    reader: "FaceReader"
    matting: MattingModel


class Lcvd(Method):
    """Generates the portrait anew from its shading under the wanted light."""

    name = "lcvd"
    modes: frozenset[Mode] = frozenset({"relight", "animate"})

    _loaded: _Loaded

    def __init__(self, table: LcvdOptions = LcvdOptions()) -> None:  # noqa: B008 - frozen
        self._table = table

    def weights(self) -> tuple[str, ...]:
        """Those beside a model's own (VAE, CLIP), or all; and of what finds and draws faces."""
        return (*self._chosen.weights, *weights_of_stages(self._stages()))

    def options(self) -> dict[str, Any]:
        """The options, and in the place of the model's name its digest."""
        table = self._table.model_dump(mode="json", exclude={"model", "lake", "matting"})
        model = self._chosen
        return {
            **table,
            "matting": self._table.matting.deciding(),
            "model": model.digest,
            "geometry": model.geometry.deciding(),
            "stages": versions_of_stages(self._stages()),
        }

    def unavailable(self) -> str:
        """There is no such model, or packages or weights beside it are missing."""
        if reason := lacking(_PACKAGES, ()):
            return reason
        try:
            return lacking(packages_of_stages(self._stages()), self.weights())
        except LimelightError as error:
            return error.message

    def seconds(self, frames: int, gpu: bool) -> float:
        """Generous, above all on a processor; twice as long where two films are generated."""
        films = 1 if self._table.detail == "generated" else 2
        return 600.0 + (_A_FRAME_OF_GPU if gpu else _A_FRAME) * frames * films

    def setup(self) -> None:
        """Load the model and what finds faces, on the GPU that this process may use."""
        from training.relight.models import choose_model
        from training.relight.subject import FaceReader

        model = choose_model(self._table.runs, self._table.model)
        reader = FaceReader(self._table.landmarks, self._chosen.geometry)
        self._loaded = _Loaded(model, reader, matting_model(self._table.matting))

    def close(self) -> None:
        """Let go of them."""
        del self._loaded

    def relight(self, driving: FilmLike, light: Light, scratch: Scratch) -> Iterator[Picture]:
        """The film's portrait, generated under the light from its first frame with a face.

        Raises:
            MethodError: No face is found, or the model cannot relight.
        """
        return self._made(driving, None, light.coefficients, scratch)

    def animate(self, driving: FilmLike, portrait: Picture, scratch: Scratch) -> Iterator[Picture]:
        """The portrait under its own light, with the film's head pose and expression.

        Raises:
            MethodError: No face is found, or the model cannot.
        """
        reference = scratch.folder / "portrait.png"
        Image.fromarray(portrait).save(reference)
        return self._made(driving, reference, None, scratch)

    def _made(
        self,
        driving: FilmLike,
        reference: Path | None,
        light: NDArray[np.float32] | None,
        scratch: Scratch,
    ) -> Iterator[Picture]:
        from training.relight.film import DrivingFilm
        from training.relight.quotient import light_laid_over

        options = self._relight_options(relit=light is not None, seed=scratch.seed)
        try:
            options.check(self._loaded.model.recipe)
            film = DrivingFilm(driving.path)
            subject = self._loaded.reader.subject(
                film, reference, options.align, _unwatched, whole=True
            )
        except UsageError as error:
            raise MethodError(error.message) from error
        own = subject.geometry.light
        generated = self._generated(subject, own if light is None else light, options, scratch)
        detail = self._table.detail or self._loaded.model.recipe.sampling.detail
        if light is not None and detail == "original":
            unlit = self._generated(subject, own, options, scratch)
            return light_laid_over(driving.pictures(), unlit, generated)
        return generated

    def _generated(
        self,
        subject: "Subject",
        light: NDArray[np.float32],
        options: "RelightOptions",
        scratch: Scratch,
    ) -> Iterator[Picture]:
        """The moving face under a light, (9, 3) or (T, 9, 3), in the size of the square."""
        from training.relight.conditions import DrawnConditions
        from training.relight.crop import FIT_SIZE
        from training.relight.generate import Generator

        loaded = self._loaded
        (matte,) = loaded.matting.masks([subject.portrait], FIT_SIZE)
        generator = Generator(loaded.model, subject.portrait, matte, seed=options.seed)
        size = generator.size
        shading = chain(
            loaded.reader.shading(subject.own, size),
            loaded.reader.shading(subject.geometry.under(light), size),
        )
        with DrawnConditions(size, partial(_room, scratch.folder)) as conditions:
            conditions.draw("shading", shading)
            latents = generator.latents(conditions, len(subject), options)
        for picture in generator.pictures(latents):
            yield subject.square.resize(picture, cv2.INTER_CUBIC)

    def _relight_options(self, *, relit: bool, seed: int) -> "RelightOptions":
        from training.relight.options import RelightOptions

        table = self._table
        return RelightOptions(
            mode="relight" if relit else "animate",
            align=table.align,
            guidance=table.guidance,
            identity=table.identity,
            steps=table.steps,
            seed=seed,
        )

    @cached_property
    def _chosen(self) -> _Chosen:
        """The model, of which nothing is loaded.

        Raises:
            UsageError: There is none.
            LakeError: It is damaged.
        """
        from training.model.folder import RECIPE, facts_and_digest
        from training.model.weights import weights_of
        from training.recipe import load_recipe
        from training.relight.models import OFFICIAL_FACTS, find_model, official_weights
        from training.relight.relight import trained_geometry

        folder = find_model(self._table.runs, self._table.model)
        if folder is None:
            return _Chosen("", official_weights(), trained_geometry(OFFICIAL_FACTS))
        facts, digest = facts_and_digest(folder)
        beside = weights_of(load_recipe(folder / RECIPE).model, start=False)
        return _Chosen(digest, beside, trained_geometry(facts))

    def _stages(self) -> tuple[Stage[Any], ...]:
        return face_stages(self._table.landmarks, self._chosen.geometry, self._table.matting)


def _room(folder: Path) -> BinaryIO:
    """An empty file without a name."""
    return cast("BinaryIO", TemporaryFile(dir=folder))


def _unwatched(part: str, done: int, total: int | None) -> None:
    """Progress that nobody looks at."""
