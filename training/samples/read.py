"""From a position of the stream to its sample: read, cut, changed; another where it is damaged."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalog.release import Release
from infra.errors import LakeError, LimelightError, UsageError
from stages.matting import hard_mask
from training.data import ReleaseClips
from training.model.latents import FACTOR
from training.recipe.tables import AugmentTable, Recipe
from training.samples.augment import Augmentation
from training.samples.cache import LatentCache
from training.samples.conditions import WindowConditions
from training.samples.quotient import coarse, relight
from training.samples.sample import TrainingSample, as_tensor
from training.samples.view import View
from training.sampling import Draw, Purpose, SampleStream, Window, generator

_TOLD = 3  # losses that an error names


@dataclass(frozen=True)
class _Window:
    """The frames of a sample, unmirrored: slot 0 is the reference."""

    video: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    shading: NDArray[np.uint8]
    moments: NDArray[Any] | None


class SampleReader:
    """The samples of a run by their positions: ``reader[position]``.

    What it gives is a pure function of (release, recipe, position), so that it may be copied
    into any number of processes.

    Args:
        release: The release.
        recipe: Says size, window, conditions, changes and seed.
        split: ``train``, ``val`` or ``test``.
        augment: Change samples as the recipe says; False leaves them as they are.
        cache: The video's latents, in place of its pictures.

    Raises:
        UsageError: The split has no clip that is long enough; or the release lacks what the
            recipe looks at; or a changed sample is asked of what cannot give it.
    """

    def __init__(
        self,
        release: Release,
        recipe: Recipe,
        *,
        split: str = "train",
        augment: bool = True,
        cache: LatentCache | None = None,
    ) -> None:
        data = recipe.data
        nothing = AugmentTable(flip=0, zoom=0, colour=0, light=0)
        self.clips = ReleaseClips(release, split)
        _require_members(release, recipe)
        window = Window(data.frames - 1, data.stride)
        self.stream = SampleStream(self.clips.lengths, window, seed=recipe.run.seed)
        self._seed = recipe.run.seed
        self._data = data
        self._changes = data.augment if augment else nothing
        self._maps = "landmarks" in recipe.model.adapters
        self._cache = cache
        if self._changes.light and data.conditions == "film":
            raise UsageError(
                'data.augment.light needs data.conditions = "render": films show one light only',
                hint="set data.augment.light = 0, or render the conditions",
            )
        if cache and not self._changes.keeps_pictures:
            raise UsageError(
                "the latent cache holds pictures as they are: data.augment.zoom,"
                " data.augment.colour and data.augment.light must be 0 with it"
            )

    def __getitem__(self, position: int) -> TrainingSample:
        """The sample at a position of the stream.

        Raises:
            LakeError: It is damaged, and so is each that was drawn in its place.
        """
        lost: list[tuple[str, str]] = []
        for attempt in range(self._data.max_lost + 1):
            draw = self.stream.draw(position, attempt)
            try:
                return self._read(draw, tuple(lost))
            except (LimelightError, OSError) as error:
                lost.append((self.clips.keys[draw.clip], _reason(error)))
        told = "; ".join(f"{key}: {reason}" for key, reason in lost[:_TOLD])
        raise LakeError(
            f"no sample for position {position}: {len(lost)} draws in a row are damaged ({told})",
            hint=f"limelight verify {self.clips.release.path.parent.name}",
        )

    def _read(self, draw: Draw, lost: tuple[tuple[str, str], ...]) -> TrainingSample:
        random = generator(self._seed, Purpose.CHANGE, draw.position, draw.attempt)
        change = Augmentation.draw(random, self._changes)
        view = change.view(self.clips.sizes[draw.clip], self._data.size)
        conditions = WindowConditions(
            self.clips, draw.clip, draw.indices, source=self._data.conditions, view=view
        )
        window = self._window(draw, change, view, conditions)
        maps = conditions.keypoints(mirrored=change.flip) if self._maps else None
        turn = slice(None, None, -1 if change.flip else 1)
        return TrainingSample(
            position=draw.position,
            key=self.clips.keys[draw.clip],
            video=as_tensor(window.video[:, :, turn]),
            mask=as_tensor(window.mask[:, :, turn]),
            shading=as_tensor(window.shading[:, :, turn]),
            landmarks=None if maps is None else as_tensor(maps),
            moments=None if window.moments is None else as_tensor(window.moments),
            lost=lost,
        )

    def _window(
        self, draw: Draw, change: Augmentation, view: View, conditions: WindowConditions
    ) -> _Window:
        indices = draw.indices
        alpha = self.clips.film(draw.clip, "mask", indices)
        # A latent is the portrait's where most of its pixels are.
        mask = hard_mask(view.at(view.size // FACTOR).pictures(alpha))
        if self._cache:
            moments = self._cache.read(self.clips, draw.clip, indices, mirrored=change.flip)
            video = view.pictures(self.clips.film(draw.clip, "video", indices[:1]))
            return _Window(video, mask, conditions.shading(), moments)
        video = view.pictures(self.clips.film(draw.clip, "video", indices))
        light = None
        if change.light and conditions.geometry:
            light = conditions.geometry.light.copy()
            surfaces = conditions.surfaces(coarse(view.size))[1:]
            cover = view.pictures(alpha[1:])
            video = video.copy()
            video[1:], light[1:] = relight(video[1:], cover, surfaces, light[1:], change.light)
        if change.colours:
            video = change.colours(video)
        return _Window(video, mask, conditions.shading(light), None)


def _require_members(release: Release, recipe: Recipe) -> None:
    """Refuse a release none of whose samples has what the recipe looks at.

    A single sample that lacks it is a damaged one, and is replaced; these all would be.
    """
    filmed = ["mesh.mp4", *(["kpmap.mp4"] if "landmarks" in recipe.model.adapters else [])]
    needed = filmed if recipe.data.conditions == "film" else ["params.npz"]
    for member in ["video.mp4", "mask.mp4", *needed]:
        if member not in release.members:
            raise UsageError(
                f"{release.path} has no {member}, which the recipe {recipe.name} with"
                f' data.conditions = "{recipe.data.conditions}" needs;'
                f" its samples have {', '.join(release.members)}",
                hint="build a release that has it, or choose other data.conditions",
            )


def _reason(error: Exception) -> str:
    return error.message if isinstance(error, LimelightError) else f"{error}"
