"""One clip as a stage sees it: its frames, and what earlier stages made of it."""

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from stages.frames import PortraitFrames, SourceFrames

Loader = Callable[[str, str], Path]
"""``(stage, artifact name) -> local path``."""


class Clip:
    """A clip in a worker's hands.

    Frames are decoded when first asked for and kept, as far as ``budget`` allows, for the
    stages that follow.

    Args:
        id: The clip's content id.
        path: Local file with the source's bytes.
        scratch: Folder for a stage's files; removed when the clip is done.
        facts: Facts of the stages already done, by stage name.
        load: Finds an artifact of a stage already done.
        budget: Bytes of decoded frames that may be kept.
    """

    def __init__(
        self,
        id: str,
        path: Path,
        scratch: Path,
        *,
        facts: dict[str, Mapping[str, Any]] | None = None,
        load: Loader | None = None,
        budget: int = 1 << 30,
    ) -> None:
        self.id = id
        self.path = path
        self.scratch = scratch
        self.facts = facts if facts is not None else {}
        self._load = load
        # Half for the source's frames, half for the portrait's: both are kept while the
        # one is made of the other.
        self.budget = budget // 2

    @cached_property
    def source(self) -> SourceFrames:
        """Upright frames with square pixels at the source's size (see `stages.frames`).

        Decoded as the probe did: it says how, and how many frames there are.
        """
        facts = self.facts.get("probe")
        return SourceFrames(self.path, budget=self.budget, facts=facts)

    @cached_property
    def portrait(self) -> PortraitFrames:
        """Frames of the normal form: the static square that the frame stage chose, resized."""
        return PortraitFrames(self.source, self.facts["frame"], budget=self.budget)

    def file(self, stage: str, name: str) -> Path:
        """Path of an artifact that ``stage`` made of this clip."""
        if self._load is None:
            raise LookupError(f"clip {self.id}: no artifact {name!r} of stage {stage!r}")
        return self._load(stage, name)

    def arrays(self, stage: str, name: str) -> dict[str, np.ndarray]:
        """Arrays of an ``.npz`` artifact that ``stage`` made of this clip."""
        with np.load(self.file(stage, name), allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
