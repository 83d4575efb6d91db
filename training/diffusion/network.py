"""LCVD as sampling wants it: bound to one video's conditions, all branches in one pass."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, cast

import torch
from torch import Tensor

from training.diffusion.branches import Branch
from training.model.shortcuts import Shortcuts
from training.recipe.tables import Stream

if TYPE_CHECKING:
    from training.model.lcvd import Lcvd


class Conditions(Protocol):
    """Gives the pictures of a video's driving streams."""

    def __call__(self, frames: Sequence[int]) -> Mapping[Stream, Tensor]:
        """Pictures (len(frames), 3, S, S) of each stream, in [0, 1].

        Args:
            frames: Slots of the video, rising; 0 is the reference, as it is lit and posed itself.
        """


class LcvdNetwork:
    """A `training.diffusion.sample.Network`.

    The reference's adapter runs once for the video. That of a driving stream runs once for each
    frame, as long as ``keep_bytes`` suffices to keep what it found; frames past that are shown to
    it anew for each window. Streams for which the model has no adapter add nothing, as in training.

    Args:
        lcvd: The model; its device and precision are used.
        ground: Latent of the reference around the portrait (C, h, w), not scaled, 0 within.
        token: The reference's token (1, D).
        reference: The reference's picture (3, S, S) in [-1, 1].
        conditions: Pictures of the streams that the branches ask for, beside the reference's.
        time_ids: What the UNet is told beside the timestep (3,); see `edm.time_ids`.
        keep_bytes: Memory for features of driving streams, on the model's device.
    """

    def __init__(
        self,
        lcvd: "Lcvd",
        *,
        ground: Tensor,
        token: Tensor,
        reference: Tensor,
        conditions: Conditions,
        time_ids: Tensor,
        keep_bytes: int = 2**30,
    ) -> None:
        parameter = next(lcvd.parameters())
        self._lcvd = lcvd
        self._shortcuts = Shortcuts(lcvd.unet)
        self._device, self._dtype = parameter.device, parameter.dtype
        self._ground, self._token = self._here(ground), self._here(token)
        self._time_ids = time_ids.to(self._device)
        self._conditions = conditions
        self._reference = reference
        self._reference_features: Tensor | None = None
        self._kept: dict[tuple[Stream, int], Tensor] = {}
        self._room = keep_bytes

    def __call__(
        self,
        latents: Tensor,
        timestep: float,
        frames: Sequence[Sequence[int]],
        branches: Sequence[Branch],
    ) -> Tensor:
        """Predictions (B, W, T, C, h, w) for windows; see `training.diffusion.sample.Network`."""
        rows = len(branches) * len(frames)
        noisy = self._here(latents).expand(len(branches), *latents.shape)
        ground = self._of_branches("ground", self._ground, branches).unsqueeze(2)
        token = self._of_branches("token", self._token, branches)
        features = self._features(frames, branches)
        with self._shortcuts.used(rows):
            predictions = self._lcvd(
                torch.cat([noisy, ground.expand_as(noisy)], dim=3).flatten(0, 1),
                torch.full((rows,), timestep, device=self._device),
                token.expand(-1, len(frames), -1, -1).flatten(0, 1),
                self._time_ids.expand(rows, -1),
                None if features is None else features.flatten(0, 1),
            )
        return cast("Tensor", predictions).unflatten(0, (len(branches), len(frames)))

    def _here(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._device, self._dtype)

    def _of_branches(self, name: str, value: Tensor, branches: Sequence[Branch]) -> Tensor:
        """A condition (B, 1, ...): its value for branches that see it, zeros for the others."""
        seen = [value if getattr(branch, name) else torch.zeros_like(value) for branch in branches]
        return torch.stack(seen).unsqueeze(1)

    def _features(
        self, frames: Sequence[Sequence[int]], branches: Sequence[Branch]
    ) -> Tensor | None:
        """The adapters' features, summed for each branch (B, W, T, width, h, w); None: no sum."""
        asked = {stream for branch in branches for stream in branch.streams}
        parts = self._parts([s for s in self._lcvd.adapters if s in asked], frames)
        if not parts:
            return None
        shape = torch.broadcast_shapes(*(part.shape for part in parts.values()))
        summed = next(iter(parts.values())).new_zeros(
            len(branches), len(frames), len(frames[0]), *shape[2:]
        )
        for total, branch in zip(summed, branches, strict=True):
            for stream in parts.keys() & set(branch.streams):
                total += parts[stream]
        return summed

    def _parts(
        self, streams: Sequence[Stream], frames: Sequence[Sequence[int]]
    ) -> dict[Stream, Tensor]:
        """Each adapter's features for the windows, in a shape that broadcasts to (W, T, ...)."""
        driving = [stream for stream in streams if stream != "reference"]
        found = self._of_frames(driving, sorted({index for window in frames for index in window}))
        parts: dict[Stream, Tensor] = {
            stream: torch.stack(
                [torch.stack([found[stream, index] for index in window]) for window in frames]
            )
            for stream in driving
        }
        if "reference" in streams:
            if self._reference_features is None:
                self._reference_features = self._adapt("reference", self._reference[None])[None]
            parts["reference"] = self._reference_features
        return parts

    def _of_frames(
        self, streams: Sequence[Stream], frames: Sequence[int]
    ) -> Mapping[tuple[Stream, int], Tensor]:
        """Features (width, h, w) of frames, kept ones or new; keeps what there is room for."""
        missing = [f for f in frames if any((stream, f) not in self._kept for stream in streams)]
        if not missing:
            return self._kept
        pictures = self._conditions(missing)
        new = {
            (stream, frame): features
            for stream in streams
            for frame, features in zip(missing, self._adapt(stream, pictures[stream]), strict=True)
        }
        found = self._kept | new
        for key, features in new.items():
            if key not in self._kept and features.nbytes <= self._room:
                self._kept[key] = features.clone()  # by itself: a view would keep its whole batch
                self._room -= features.nbytes
        return found

    def _adapt(self, stream: Stream, pictures: Tensor) -> Tensor:
        return cast("Tensor", self._lcvd.adapters[stream](self._here(pictures)))
