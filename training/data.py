"""Reading a release for training: any frames of any clip, out of the middle of its shard.

The index says where each member of a sample lies; just those bytes are read, checked and
decoded. NumPy only: whoever trains wraps this in the data set of their framework.
"""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow.compute as pc

from catalog.index import column
from catalog.release import Release
from infra.errors import LakeError, UsageError
from training.films import NormalFilm

STREAMS = ("video", "mask", "kpmap", "mesh")
"""The films of a sample."""

_GREY = ("mask",)


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
        streams = {name: getattr(self, name) for name in STREAMS}
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

    Attributes:
        keys: Clip ids; places count in this order.
        lengths: Frames of each.
        sizes: Side of each one's square pictures, in pixels.

    Raises:
        UsageError: The release has no such clips.
    """

    def __init__(self, release: Release, split: str = "train") -> None:
        self.release = release
        chosen = pc.equal(release.index["split"], split)
        rows = release.index.filter(chosen)
        self._rows: list[int] = pc.indices_nonzero(chosen).to_pylist()
        self.keys: list[str] = rows["key"].to_pylist()
        self.lengths: list[int] = rows["frames"].to_pylist()
        self.sizes: list[int] = rows["width"].to_pylist()
        if not self.keys:
            known = ", ".join(sorted(set(release.index["split"].to_pylist())))
            raise UsageError(f"{release.path} has no clips in split {split!r}; it has: {known}")

    def __len__(self) -> int:
        """Clips."""
        return len(self.keys)

    def read(self, clip: int, indices: Sequence[int], *, params: bool = True) -> ClipFrames:
        """Frames of a clip, in the order asked for, equal to those of a sequential decode.

        Args:
            clip: Its place in ``keys``.
            indices: Which frames, from 0; such as `training.sampling.Draw.indices`.
            params: Read ``params.npz`` too.

        Raises:
            IndexError: There is no such clip or frame.
            LakeError: The bytes are not those that were written.
        """
        return ClipFrames(
            key=self.keys[clip],
            indices=np.array(indices, np.int64),
            **{name: self.film(clip, name, indices) for name in STREAMS},
            params=self._params(clip, indices) if params else {},
        )

    def film(self, clip: int, name: str, indices: Sequence[int]) -> np.ndarray:
        """Frames of one of a clip's `STREAMS`, as `ClipFrames` has them.

        Raises:
            IndexError: There is no such clip or frame.
            LakeError: The bytes are not those that were written.
            UsageError: The clip has no such film.
        """
        key, length = self.keys[clip], self.lengths[clip]
        if not all(0 <= index < length for index in indices):
            raise IndexError(f"frames {list(indices)} of clip {clip}, which has {length}")
        with NormalFilm(self.release.read(key, f"{name}.mp4"), grey=name in _GREY) as film:
            if len(film) != length:
                raise LakeError(f"{key}.{name}.mp4 has {len(film)} frames; its index says {length}")
            return film.read(indices)

    def arrays(self, clip: int) -> dict[str, np.ndarray]:
        """All arrays of a clip's ``params.npz``.

        Raises:
            LakeError: The bytes are not those that were written.
            UsageError: The clip has none.
        """
        data = self.release.read(self.keys[clip], "params.npz")
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}

    def facts(self, clip: int, stage: str) -> dict[str, Any]:
        """What a stage learnt of a clip; empty if the sample does not tell.

        Raises:
            LakeError: The bytes are not those that were written.
        """
        facts: dict[str, Any] = json.loads(self.release.read(self.keys[clip], "json"))["facts"]
        return dict(facts.get(stage, {}))

    def digest(self, clip: int, member: str) -> str:
        """SHA-256 of one of a clip's members, as the index tells it: 64 hexadecimal digits.

        Raises:
            UsageError: The clip has no such member.
        """
        name = column(member, "sha256")
        table = self.release.index
        known = table.column_names
        found = table[name][self._rows[clip]].as_py() if name in known else None
        if found is None:
            raise UsageError(f"sample {self.keys[clip]} has no member {member!r}")
        return str(found)

    def _params(self, clip: int, indices: Sequence[int]) -> dict[str, np.ndarray]:
        """Those arrays that are told frame by frame: their first axis is the clip's."""
        length = self.lengths[clip]
        return {
            name: array[list(indices)]
            for name, array in self.arrays(clip).items()
            if array.shape[:1] == (length,)
        }
