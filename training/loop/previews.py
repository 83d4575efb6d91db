"""Previews: what the averaged weights make of held-out samples, as videos to be looked at."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from infra.storage import lake_errors, write_atomic
from stages.encode import VideoWriter
from training.diffusion.branches import guidance
from training.diffusion.network import LcvdNetwork
from training.diffusion.sample import sample
from training.engine.engine import TrainingEngine
from training.loop.draws import validation_draws
from training.loop.objective import Objective
from training.model.lcvd import Lcvd
from training.recipe import Recipe, Stream
from training.samples.sample import TrainingBatch, TrainingSample, collate

FPS = Fraction(8)
"""Of the videos: slow, to see each frame."""

SHEET_ROWS = 4
"""Frames of a contact sheet."""


class Previewer:
    """Draws [reference | mask | conditions | generated | target] of some samples.

    Args:
        recipe: Sampling steps, guidance and window.
        objective: Makes the conditions of a reference, and knows the codec.
        samples: What is drawn.
        device: Where.
    """

    def __init__(
        self,
        recipe: Recipe,
        objective: Objective,
        samples: Sequence[TrainingSample],
        device: torch.device,
    ) -> None:
        self._recipe = recipe
        self._objective = objective
        self._samples = list(samples)
        self._device = device

    @torch.no_grad()
    def run(self, engine: TrainingEngine) -> NDArray[np.uint8]:
        """Sample with the averaged weights. Every rank calls it, and gets the same.

        All ranks compute all of it: with ZeRO 3 a pass of the network is collective.

        Args:
            engine: Between two steps, with an `Lcvd` as its module.

        Returns:
            uint8 (F, samples * S, panels * S, 3): the frames of the grid's video.
        """
        lcvd = engine.module
        assert isinstance(lcvd, Lcvd)
        lcvd.eval()
        with engine.averaged():
            rows = [self._row(lcvd, place) for place in range(len(self._samples))]
        lcvd.train()
        return np.concatenate(rows, axis=1)

    def _row(self, lcvd: Lcvd, place: int) -> NDArray[np.uint8]:
        """The panels of one sample, uint8 (F, S, panels * S, 3)."""
        batch = collate(self._samples[place : place + 1])
        assert batch.video is not None
        generated = self._generate(lcvd, batch, place)
        frames, _, size, _ = generated.shape
        mask = batch.mask[0].expand(-1, 3, -1, -1)
        panels = [
            (batch.reference / 2 + 0.5).expand(frames, -1, -1, -1),
            torch.nn.functional.interpolate(mask, size=(size, size), mode="nearest"),
            *(pictures[0] for pictures in self._driving(batch).values()),
            generated / 2 + 0.5,
            batch.video[0] / 2 + 0.5,
        ]
        row = torch.cat([panel.clamp(0, 1) for panel in panels], dim=3)
        pixels: NDArray[np.uint8] = (row * 255).round().byte().permute(0, 2, 3, 1).numpy()
        return pixels

    def _generate(self, lcvd: Lcvd, batch: TrainingBatch, place: int) -> Tensor:
        """What the network makes of a sample's conditions, (F, 3, S, S) on the processor."""
        recipe, table = self._recipe, self._recipe.sampling
        draws = validation_draws(recipe, [(place, 0)], [1.0], self._objective.shapes)
        shown = self._objective.shown(batch, draws)
        driving = self._driving(batch)

        def conditions(frames: Sequence[int]) -> Mapping[Stream, Tensor]:
            return {stream: pictures[0, list(frames)] for stream, pictures in driving.items()}

        latents = sample(
            LcvdNetwork(
                lcvd,
                ground=shown.ground[0],
                token=shown.token[0],
                reference=shown.picture[0],
                conditions=conditions,
                time_ids=shown.time_ids[0],
            ),
            frames=recipe.data.frames - 1,
            shape=self._objective.shapes.latents[1:],
            guidance=guidance(
                recipe.conditions.scheme,
                light=table.light,
                driving="shading" if "shading" in driving else "landmarks",
            ),
            steps=recipe.run.preview_steps,
            sigma_min=table.sigma_min,
            sigma_max=table.sigma_max,
            window=table.window,
            overlap=table.overlap,
            seed=recipe.run.seed + place,
        )
        return self._objective.codec.decode(latents.to(self._device)).cpu()

    def _driving(self, batch: TrainingBatch) -> dict[Stream, Tensor]:
        """The pictures that move the head and say the light, (1, F, 3, S, S) in [0, 1]."""
        found: dict[Stream, Tensor | None] = {
            "shading": batch.shading,
            "landmarks": batch.landmarks,
        }
        return {
            s: p for s, p in found.items() if p is not None and s in self._recipe.model.adapters
        }


def write_preview(folder: Path, step: int, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Write a grid as a video and as a contact sheet.

    Args:
        folder: Gets ``step-00000100.mp4`` and ``step-00000100.png``.
        step: Steps done.
        frames: uint8 (F, H, W, 3).

    Returns:
        The contact sheet, uint8 (rows, W, 3): some of the frames, one below the other.
    """
    shown = np.linspace(0, len(frames) - 1, min(SHEET_ROWS, len(frames))).round().astype(int)
    sheet = np.concatenate(list(frames[shown]))
    path = folder / f"step-{step:08d}.mp4"
    partial = path.with_suffix(".partial.mp4")
    with lake_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with VideoWriter(partial, size=(frames.shape[2], frames.shape[1]), fps=FPS) as video:
            for frame in frames:
                video.write(frame)
        partial.rename(path)
    _, png = cv2.imencode(".png", sheet[..., ::-1])
    write_atomic(path.with_suffix(".png"), png.tobytes(), point="run.preview")
    return sheet
