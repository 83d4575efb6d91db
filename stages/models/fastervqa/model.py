"""The quality model `fastervqa`: a learnt score of a clip, from fragments of some frames."""

import numpy as np
import torch
from numpy.typing import NDArray

from stages.frames import SourceFrames
from stages.models.fastervqa.fragments import Plan, gather
from stages.models.fastervqa.network import FasterVQANet
from stages.models.fastervqa.variants import VARIANTS, Sampling, VariantName
from stages.models.nets import Precision, load_state, one_thread, ready_net
from stages.models.verdict import Verdict

MEAN = (123.675, 116.28, 103.53)
"""Of each colour, in levels; taken off."""

DEVIATION = (58.395, 57.12, 57.375)
"""Of each colour, in levels; divided by."""

BATCH = 4
"""Clips at once; each takes about 0.4 GB of memory in float32."""


class FasterVQA:
    """FasterVQA (Wu et al. 2023), with the published checkpoint.

    A clip's score is 0.5 where the authors' reference videos are on average; one standard
    deviation above it is 0.73.

    Args:
        variant: Which of the published ways to use the checkpoint.
        sampling: How the places of fragments are drawn.
        draws: Independent samplings, whose raw scores are averaged.
        precision: Of weights and arithmetic.

    Raises:
        WeightsError: The checkpoint is missing, or another architecture's.
    """

    def __init__(
        self,
        variant: VariantName = "base",
        sampling: Sampling = "clip",
        draws: int = 1,
        precision: Precision = "float32",
    ) -> None:
        self._variant = VARIANTS[variant]
        self._sampling: Sampling = sampling
        self._draws = draws
        state = load_state("fastervqa")
        self._net = ready_net(FasterVQANet(), state, name="fastervqa", precision=precision)

    def __call__(self, source: SourceFrames, clip: str) -> Verdict:
        """Judge a clip; see `stages.models.verdict.QualityModel`.

        The facts: ``raw``, the mean of the draws' raw scores; ``score``, that in 0..1; and
        ``spread``, the standard deviation of the draws' scores where there are several.
        """
        variant = self._variant
        plans = [
            Plan.make(variant, len(source), source.size, self._sampling, clip, number)
            for number in range(self._draws)
        ]
        maps = self.rate(gather(source, plans))
        raws = maps.mean(axis=(1, 2, 3), dtype=np.float64)
        raw = float(raws.mean())
        scores = [variant.score(each) for each in raws.tolist()]
        score = round(variant.score(raw), 6)
        spread = round(float(np.std(scores, ddof=1)), 6) if len(scores) > 1 else None
        draw, time = np.unravel_index(maps.mean(axis=(2, 3)).argmin(), maps.shape[:2])
        return Verdict(
            score=score,
            facts={"raw": round(raw, 6), "score": score, "spread": spread},
            complaint=self._complaint(raw, worst=int(plans[draw].frames[2 * time])),
            looked_at=sorted({index for plan in plans for index in plan.frames.tolist()}),
        )

    def rate(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Maps of quality of any number of clips.

        Args:
            clips: (B, T, S, S, 3) RGB, fragments put together.

        Returns:
            (B, T/2, S/32, S/32), a raw score for every two frames of every fragment.
        """
        like = next(self._net.parameters())
        mean, deviation = (torch.tensor(each, device=like.device) for each in (MEAN, DEVIATION))
        maps = []
        with one_thread(), torch.inference_mode():
            for batch in torch.from_numpy(clips).split(BATCH):
                normal = (batch.to(like.device) - mean) / deviation
                rated = self._net(normal.to(like.dtype).permute(0, 4, 1, 2, 3))
                maps.append(rated[:, 0].float().cpu())
        return torch.cat(maps).numpy()

    def _complaint(self, raw: float, worst: int) -> str:
        deviations = self._variant.deviations(raw)
        side = "above" if deviations > 0 else "below"
        return (
            f"FasterVQA rates it {abs(deviations):.1f} standard deviations {side} the average"
            f" of its reference videos, lowest near frame {worst}"
        )
