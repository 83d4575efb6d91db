"""The first stage: is this a usable video, and what is it?"""

from typing import Self

from pydantic import Field, model_validator

from stages.base import Product, Rejected, Stage, StageConfig
from stages.clip import Clip
from stages.frames import IMAGE_REPEAT, SourceFrames, read_headers
from stages.media import Headers, UnusableVideo


class ProbeConfig(StageConfig):
    """What counts as a usable video."""

    min_frames: int = Field(16, ge=1)
    """Frames that a film must have; a still picture is never too short."""
    max_frames: int = Field(90_000, ge=1)
    """Frames that a clip may have (an hour at 25 a second). Each takes 40 kB of a worker's
    memory, for landmarks and skin."""
    min_side: int = Field(64, ge=16)
    """Pixels that the shorter side must have."""
    max_side: int = Field(8192, ge=16)
    """Pixels that the longer side may have."""
    min_fps: float = Field(5.0, gt=0)
    """Frames a second that a film must have."""
    max_fps: float = Field(120.0, gt=0)
    """Frames a second that a film may have."""
    max_corrupt: int = Field(0, ge=0)
    """Damaged frames that are put up with; the frame before is shown in their place."""
    image_repeat: int = Field(IMAGE_REPEAT, ge=1)
    """Frames that a still picture becomes."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for word in ("frames", "side", "fps"):
            least, most = getattr(self, f"min_{word}"), getattr(self, f"max_{word}")
            if least > most:
                raise ValueError(f"min_{word} = {least} must not exceed max_{word} = {most}")
        return self


class Probe(Stage[ProbeConfig]):
    """Decodes a clip once from end to end: what cannot be decoded is not trained on.

    Facts are those of `stages.frames.SourceFrames.facts`.
    """

    name = "probe"
    Config = ProbeConfig

    def process(self, clip: Clip) -> Product:
        """Check the headers, then every frame.

        Raises:
            Rejected: It is no usable video; the reason says why.
            SourceError: The file is not there, or may not be read.
        """
        try:
            self._check_headers(read_headers(clip.path))
            # The frames decoded here serve the stages that follow.
            clip.source = SourceFrames(
                clip.path,
                budget=clip.budget,
                image_repeat=self.config.image_repeat,
                max_corrupt=self.config.max_corrupt,
            )
            facts = clip.source.facts
        except UnusableVideo as finding:
            raise Rejected(finding.reason, facts=finding.facts) from finding
        few, many = self.config.min_frames, self.config.max_frames
        if not facts["image_repeat"] and not few <= facts["frames"] <= many:
            raise Rejected(
                f"it has {_count(facts['frames'])}; {few} to {many} are asked for", facts=facts
            )
        return Product(facts=facts)

    def _check_headers(self, headers: Headers) -> None:
        """Refuse before a frame is decoded what would take too much memory or time."""
        config = self.config
        size = f"{headers.width}x{headers.height}"
        if min(headers.width, headers.height) < config.min_side:
            raise Rejected(
                f"its picture of {size} is too small: the shorter side must have"
                f" {config.min_side} pixels"
            )
        if max(headers.width, headers.height) > config.max_side:
            raise Rejected(
                f"its picture of {size} is too large: the longer side may have"
                f" {config.max_side} pixels"
            )
        if not config.min_fps <= headers.rate <= config.max_fps:
            raise Rejected(
                f"its rate is {float(headers.rate):.4g} frames a second;"
                f" {config.min_fps:g} to {config.max_fps:g} are asked for"
            )
        if headers.frames > config.max_frames:
            raise Rejected(
                f"its header promises {_count(headers.frames)}; up to {config.max_frames} are taken"
            )


def _count(frames: int) -> str:
    return "1 frame" if frames == 1 else f"{frames} frames"
