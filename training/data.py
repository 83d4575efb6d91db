"""Reading a release for training: any frames of any clip, out of the middle of its shard.

The index says where each member of a sample lies; just those bytes are read, checked and
decoded. NumPy only: whoever trains wraps this in the data set of their framework.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import pyarrow.compute as pc

from catalog.release import Release
from infra.errors import LakeError, UsageError
from training.films import NormalFilm

_GREY = ("mask",)
_OF_THE_CLIP = ("head",)  # arrays of params.npz that are not told frame by frame


@dataclass(frozen=True)
class ClipFrames:
    """The same frames out of every stream of one clip.

    Attributes:
        key: Clip id.
        indices: int64 (n,), the frames' places in the clip.
        video: uint8 (n, S, S, 3), RGB.
        mask: uint8 (n, S, S), portrait alpha.
        kpmap: uint8 (n, S, S, 3), keypoint maps.
        mesh: uint8 (n, S, S, 3), shading renders.
        params: Per-frame arrays of ``params.npz`` (see `stages.geometry.Geometry`), n long:
            ``light`` (n, 9, 3), ``landmarks`` (n, 478, 3) and more. Empty if not asked for.
    """

    key: str
    indices: np.ndarray
    video: np.ndarray
    mask: np.ndarray
    kpmap: np.ndarray
    mesh: np.ndarray
    params: dict[str, np.ndarray]

    def __post_init__(self) -> None:
        streams = {name: getattr(self, name) for name in ("video", "mask", "kpmap", "mesh")}
        lengths = {name: len(each) for name, each in {**streams, **self.params}.items()}
        if set(lengths.values()) != {len(self.indices)}:
            raise ValueError(f"clip {self.key}: {len(self.indices)} frames, but {lengths}")

    def __repr__(self) -> str:
        """Shapes, not pixels."""
        arrays = {each.name: getattr(self, each.name) for each in fields(self)[1:-1]}
        shapes = [f"{name}={array.shape}" for name, array in arrays.items()]
        shapes += [f"params[{name!r}]={array.shape}" for name, array in self.params.items()]
        return f"ClipFrames(key={self.key!r}, {', '.join(shapes)})"


class ReleaseClips:
    """Random access to the clips of one split of a release.

    Safe to copy into worker processes: nothing is held open between reads.

    Args:
        release: The release.
        split: ``train``, ``val`` or ``test``.
        params: Read ``params.npz`` too.

    Attributes:
        keys: Clip ids; places count in this order.
        lengths: Frames of each.

    Raises:
        UsageError: The release has no such clips.
    """

    def __init__(self, release: Release, split: str = "train", *, params: bool = True) -> None:
        self.release = release
        self.params = params
        rows = release.index.filter(pc.equal(release.index["split"], split))
        self.keys: list[str] = rows["key"].to_pylist()
        self.lengths: list[int] = rows["frames"].to_pylist()
        if not self.keys:
            known = ", ".join(sorted(set(release.index["split"].to_pylist())))
            raise UsageError(f"{release.path} has no clips in split {split!r}; it has: {known}")

    def __len__(self) -> int:
        """Clips."""
        return len(self.keys)

    def read(self, clip: int, indices: Sequence[int]) -> ClipFrames:
        """Frames of a clip, in the order asked for, equal to those of a sequential decode.

        Args:
            clip: Its place in ``keys``.
            indices: Which frames, from 0; such as `training.sampling.Draw.indices`.

        Raises:
            IndexError: There is no such clip or frame.
            LakeError: The bytes are not those that were written.
        """
        length = self.lengths[clip]
        if not all(0 <= index < length for index in indices):
            raise IndexError(f"frames {list(indices)} of clip {clip}, which has {length}")
        video, mask, kpmap, mesh = (
            self._film(clip, name, indices) for name in ("video", "mask", "kpmap", "mesh")
        )
        return ClipFrames(
            key=self.keys[clip],
            indices=np.array(indices, np.int64),
            video=video,
            mask=mask,
            kpmap=kpmap,
            mesh=mesh,
            params=self._params(clip, indices) if self.params else {},
        )

    def _film(self, clip: int, name: str, indices: Sequence[int]) -> np.ndarray:
        key, length = self.keys[clip], self.lengths[clip]
        with NormalFilm(self.release.read(key, f"{name}.mp4"), grey=name in _GREY) as film:
            if len(film) != length:
                raise LakeError(f"{key}.{name}.mp4 has {len(film)} frames; its index says {length}")
            return film.read(indices)

    def _params(self, clip: int, indices: Sequence[int]) -> dict[str, np.ndarray]:
        data = self.release.read(self.keys[clip], "params.npz")
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return {
                name: archive[name][list(indices)]
                for name in archive.files
                if name not in _OF_THE_CLIP
            }
