"""Stage `quality`: a no-reference score of sampled fragments; poor clips are turned down."""

from dataclasses import replace
from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from stages.base import ModelTable, Product, Rejected, Stage, StageConfig
from stages.clip import Clip
from stages.models.fastervqa.variants import Sampling, VariantName
from stages.models.offer import Offer
from stages.models.verdict import QualityModel

QUALITY_MODELS = {
    "classical": Offer("stages.models.naturalness:Naturalness"),
    "fastervqa": Offer(
        "stages.models.fastervqa.model:FasterVQA",
        weights=("fastervqa",),
        packages=("torch", "timm", "safetensors"),
    ),
}
"""Quality models by the name that a config gives."""

DRAW_SECONDS = 30.0
"""What one sampling may take `fastervqa` on a slow processor."""

THRESHOLDS = {"classical": 0.5, "fastervqa": 0.6}
"""The models' own: settled with `classical`; the filter of LCVD's data for `fastervqa`."""


class ClassicalTable(ModelTable):
    """``[quality.classical]``: what the signal statistics look at."""

    groups: int = Field(6, ge=1, le=64)
    """Pairs of consecutive frames that are looked at, spread over the clip."""
    grid: int = Field(7, ge=1, le=32)
    """Fragments of such a frame, in each direction."""


class FasterVQATable(ModelTable):
    """``[quality.fastervqa]``: what the network looks at, and how it computes."""

    variant: VariantName = "base"
    """``base``: FasterVQA, 7x7 fragments of 32 frames. ``mt``: of 16 frames, ``ms``: 5x5
    fragments; each takes half the time."""
    sampling: Sampling = "clip"
    """Which frames and fragments. ``clip``: spread over the clip, drawn by its content id.
    ``dataset``: the same, drawn as the published evaluation does. ``centre``: consecutive
    frames in the middle, as the published demo does."""
    draws: int = Field(1, ge=1, le=64)
    """Independent samplings whose scores are averaged; their spread is told in the facts."""
    precision: Literal["float32", "float16", "bfloat16"] = "float32"
    """Of weights and arithmetic; the shorter ones pay on a GPU."""


class QualityConfig(StageConfig):
    """Which model scores a clip, what it looks at, and what is good enough."""

    model: Literal["classical", "fastervqa"] = "classical"
    """``classical``: signal statistics, no weights (see `stages.models.naturalness`).
    ``fastervqa``: a network trained on people's opinions (see `stages.models.fastervqa`)."""
    threshold: float = Field(default=None, ge=0.0, le=1.0, validate_default=True)
    """Clips that score below this are rejected; 0 keeps all. Where it is left out, it is the
    model's own: 0.5 of ``classical``, 0.6 of ``fastervqa``."""
    classical: ClassicalTable = ClassicalTable()
    fastervqa: FasterVQATable = FasterVQATable()

    @field_validator("threshold", mode="before")
    @classmethod
    def _own_threshold(cls, value: Any, info: ValidationInfo) -> Any:
        """The threshold of the chosen model, where none is given."""
        return THRESHOLDS.get(info.data.get("model", ""), 0.0) if value is None else value


class Quality(Stage[QualityConfig]):
    """Scores a clip between 0 and 1, and rejects it below the threshold."""

    name = "quality"
    needs = ("probe",)
    Config: ClassVar[type[StageConfig]] = QualityConfig

    _model: QualityModel

    def offers(self) -> tuple[Offer, ...]:
        """The configured model."""
        offer = QUALITY_MODELS[self.config.model]
        if self.config.model == "fastervqa":
            offer = replace(offer, slowest_clip=DRAW_SECONDS * self.config.fastervqa.draws)
        return (offer,)

    def setup(self) -> None:
        """Load the configured model."""
        (offer,) = self.offers()
        self._model = offer.load()(**dict(self.config.table()))

    def process(self, clip: Clip) -> Product:
        """Score the clip.

        Raises:
            Rejected: The score is below the threshold; the reason holds the model's complaint.
        """
        verdict = self._model(clip.source, clip.id)
        facts: dict[str, Any] = {**verdict.facts, "looked_at": list(verdict.looked_at)}
        if verdict.score < self.config.threshold:
            raise Rejected(
                f"quality {verdict.score:.2f} is below the threshold"
                f" {self.config.threshold:.2f} ({verdict.complaint})",
                score=verdict.score,
                facts=facts,
            )
        return Product(facts=facts, score=verdict.score)
