"""Where a benchmark keeps its files: films, rows and features, all by content."""

from dataclasses import dataclass
from pathlib import Path

from evaluation.protocols.lossless import SUFFIX


@dataclass(frozen=True)
class Places:
    """The folder ``<lake>/benchmarks``; making this object touches nothing on the disk.

    Attributes:
        root: The folder.
    """

    root: Path

    @property
    def films(self) -> Path:
        """Lossless films, ``<digest>.mkv``: of subjects, of lights, and of what methods made."""
        return self.root / "films"

    @property
    def subjects(self) -> Path:
        """What was cut out of each source, ``<key>.json``."""
        return self.root / "subjects"

    @property
    def cells(self) -> Path:
        """Rows, ``<cell id>.json``."""
        return self.root / "cells"

    @property
    def features(self) -> Path:
        """What extractors found, ``<key>.npz``."""
        return self.root / "features"

    def film(self, digest: str) -> Path:
        """The film of that digest."""
        return self.films / f"{digest}{SUFFIX}"

    def row(self, cell: str) -> Path:
        """The row of the cell of that id."""
        return self.cells / f"{cell}.json"

    def sweep(self, before: float) -> int:
        """Remove what killed processes left half written.

        Args:
            before: Seconds since the epoch; younger files may belong to somebody at work.

        Returns:
            Number of files that are gone.
        """
        folders = (self.films, self.subjects, self.cells, self.features)
        left = [path for folder in folders for path in folder.glob(".*.tmp")]
        old = [path for path in left if path.exists() and path.stat().st_mtime < before]
        for path in old:
            path.unlink(missing_ok=True)
        return len(old)
