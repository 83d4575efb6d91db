"""Stage `quality`: a no-reference score of sampled fragments; poor clips are turned down."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from stages.base import Product, Rejected, Stage, StageConfig
from stages.clip import Clip
from stages.models.naturalness import Naturalness
from stages.models.verdict import QualityModel


class QualityConfig(StageConfig):
    """Which model scores a clip, what it looks at, and what is good enough."""

    model: Literal["classical"] = "classical"
    """``classical``: signal statistics, no weights (see `stages.models.naturalness`)."""
    threshold: float = Field(0.5, ge=0.0, le=1.0)
    """Clips that score below this are rejected; 0 keeps all."""
    groups: int = Field(6, ge=1, le=64)
    """Pairs of consecutive frames that are looked at, spread over the clip."""
    grid: int = Field(7, ge=1, le=32)
    """Fragments of such a frame, in each direction."""


class Quality(Stage[QualityConfig]):
    """Scores a clip between 0 and 1, and rejects it below the threshold."""

    name = "quality"
    needs = ("probe",)
    Config: ClassVar[type[StageConfig]] = QualityConfig

    _model: QualityModel

    def setup(self) -> None:
        """Make the model that the config names."""
        self._model = Naturalness(self.config.groups, self.config.grid)

    def process(self, clip: Clip) -> Product:
        """Score the clip.

        Raises:
            Rejected: The score is below the threshold; the reason names the worst fault.
        """
        indices = self._model.indices(clip.facts["probe"]["frames"])
        verdict = self._model(clip.source.at(indices))
        facts: dict[str, Any] = {**verdict.facts, "looked_at": indices}
        if verdict.score < self.config.threshold:
            raise Rejected(
                f"quality {verdict.score:.2f} is below the threshold"
                f" {self.config.threshold:.2f} ({verdict.complaint})",
                score=verdict.score,
                facts=facts,
            )
        return Product(facts=facts, score=verdict.score)
