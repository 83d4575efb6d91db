"""How a video is relit: what may be chosen beside the pictures and the light."""

from dataclasses import dataclass
from math import inf
from typing import Literal

from infra.errors import UsageError
from stages.geometry import GeometryConfig
from stages.matting import MattingConfig
from stages.models.faces import FaceModelName
from training.diffusion.branches import Driving
from training.recipe import Detail, Recipe
from training.relight.align import Align
from training.relight.composite import Background

Mode = Literal["relight", "animate", "landmarks"]
"""`relight`: the face moves under another light; `animate`: under the reference's own; `landmarks`:
its landmarks say how it moves, and no light is told."""

DRIVING: dict[Mode, Driving] = {
    "relight": "shading",
    "animate": "shading",
    "landmarks": "landmarks",
}
"""The stream that drives the portrait in each mode."""


@dataclass(frozen=True)
class RelightOptions:
    """What decides a relit video, beside its sources and the model. None takes the model's own.

    Attributes:
        mode: What drives the portrait (`Mode`).
        align: How a film's motion is carried over to a portrait that is not in it.
        background: What is around the portrait.
        detail: Whose pixels the portrait is made of.
        intensity: Factor on the light.
        guidance: Weight of the light, or of the landmarks.
        identity: Weight of the reference.
        steps: Of sampling.
        seed: Of the noise: the same video on the same processor.
        frames: How many are made at most; a still picture that drives becomes as many.
        landmarks: Name of the landmark model.
        geometry: Geometry model and its options; None takes the one that the model was trained
            with.
        matting: Matting model and its options.
        crf: Constant rate factor of the result (x264; smaller is better and larger).
        grid: Make the side-by-side grid and the contact sheet, too.
    """

    mode: Mode = "relight"
    align: Align = "so3"
    background: Background = "composite"
    detail: Detail | None = None
    intensity: float = 1.0
    guidance: float | None = None
    identity: float | None = None
    steps: int | None = None
    seed: int = 0
    frames: int | None = None
    landmarks: FaceModelName = "mediapipe"
    geometry: GeometryConfig | None = None
    matting: MattingConfig = MattingConfig()  # noqa: RUF009 - frozen
    crf: int = 16
    grid: bool = True

    @property
    def stream(self) -> Driving:
        """The stream that drives the portrait."""
        return DRIVING[self.mode]

    def check(self, recipe: Recipe) -> None:
        """Make sure that a model can do what is asked.

        Raises:
            UsageError: It cannot; the message says why.
        """
        self._check_numbers()
        stream, adapters = self.stream, recipe.model.adapters
        if stream not in adapters:
            able = " or ".join(mode for mode, needs in DRIVING.items() if needs in adapters)
            raise UsageError(
                f"--mode {self.mode} needs a model with an adapter for {stream}; this one has"
                f" {', '.join(adapters)}",
                hint=f"this model can do --mode {able}; train one with model.adapters ="
                f' [..., "{stream}"]'
                + (" and conditions.posed above 0" if stream == "landmarks" else ""),
            )
        conditions = recipe.conditions
        if stream == "landmarks" and conditions.scheme == "branches" and not conditions.posed:
            raise UsageError(
                "--mode landmarks needs a model that was shown landmarks; this one never was",
                hint="train one with conditions.posed above 0",
            )
        identity = recipe.sampling.identity if self.identity is None else self.identity
        if recipe.conditions.scheme == "paper" and identity != 1:
            raise UsageError(
                f'--identity {identity:g}: a model trained with conditions.scheme = "paper" knows'
                " one guidance only",
                hint="leave --identity out, and set --guidance",
            )

    def _check_numbers(self) -> None:
        """Make sure that every number is one that means something; None is the model's own."""
        for name, value, least, most in (
            ("guidance", self.guidance, 0, inf),
            ("identity", self.identity, 0, inf),
            ("steps", self.steps, 1, inf),
            ("seed", self.seed, 0, inf),
            ("frames", self.frames, 1, inf),
            ("crf", self.crf, 0, 51),
        ):
            if value is not None and not (least <= value <= most and value < inf):
                allowed = f"{least} or more" if most == inf else f"{least} to {most}"
                raise UsageError(f"--{name} {value}: {allowed} is needed")
