"""The lake: one folder that holds everything Limelight knows and made."""

import json
import shutil
from pathlib import Path

from catalog.artifacts import ArtifactStore
from catalog.clips import ClipTable
from catalog.outcomes import OutcomeTable
from infra.errors import LakeError
from infra.storage import lake_errors, write_atomic

FORMAT = 1
_MARKER = "lake.json"
_OWN = {"clips", "outcomes", "artifacts", "releases", "tmp", "prefect"}


class Lake:
    """A handle on a lake; making one touches nothing on the disk.

    Use :meth:`open` where a user named the lake (it checks, and may create); use the
    constructor where the lake is known to be there, such as in a worker.

    Attributes:
        root: Absolute path of the folder.
        clips: Which clips there are (:class:`~catalog.clips.ClipTable`).
        outcomes: What the stages made of them (:class:`~catalog.outcomes.OutcomeTable`).
        artifacts: The files they made (:class:`~catalog.artifacts.ArtifactStore`).
        releases: Folder of the releases, ``<releases>/<name>/<version>/``.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).absolute()
        self.clips = ClipTable(self.root / "clips", spill=self.root / "tmp" / "duckdb")
        self.outcomes = OutcomeTable(self.root / "outcomes", spill=self.root / "tmp" / "duckdb")
        self.artifacts = ArtifactStore(self.root / "artifacts")
        self.releases = self.root / "releases"

    @classmethod
    def open(cls, root: Path | str, *, create: bool = False) -> "Lake":
        """Open the lake at ``root``.

        The marker file is written last, so that a lake whose creation was interrupted is no
        lake yet, and is completed by the next ``create``. Creating a lake that is there
        already only opens it.

        Args:
            root: The lake's folder.
            create: Make it where it is missing.

        Raises:
            LakeError: There is no lake and none may be made, its format is another, or the
                disk is full or read-only.
        """
        lake = cls(root)
        marker = lake.root / _MARKER
        if not marker.is_file():
            if not create:
                raise LakeError(
                    f"{lake.root} is no lake",
                    hint="name one with --lake, or make one with `limelight build`",
                )
            lake._create()
        try:
            found = json.loads(marker.read_text())["format"]
        except (ValueError, KeyError, TypeError) as error:
            raise LakeError(
                f"{marker} cannot be understood", hint="restore it from a backup of the lake"
            ) from error
        if found != FORMAT:
            raise LakeError(
                f"{lake.root} is a lake of format {found}, this Limelight reads format {FORMAT}",
                hint="use the version of Limelight that made it, or another lake",
            )
        return lake

    def scratch(self, run: str) -> Path:
        """Folder for a run's temporary files, ``<lake>/tmp/<run>`` (not made here).

        It lies on the lake's own file system, so that a finished file is moved into place
        by a rename; `catalog.sweep` removes what a dead run leaves there.
        """
        return self.root / "tmp" / run

    def discard_scratch(self, run: str) -> None:
        """Remove a run's temporary files, if there are any."""
        shutil.rmtree(self.scratch(run), ignore_errors=True)

    def _create(self) -> None:
        if "%" in str(self.root):
            # delta-rs decodes a table's path once too often, and would write elsewhere.
            raise LakeError(f"a lake's path may hold no '%': {self.root}", hint="rename the folder")
        if self.root.exists() and not self.root.is_dir():
            raise LakeError(f"{self.root} is a file, no folder", hint="choose another with --lake")
        with lake_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            foreign = sorted(
                path.name
                for path in self.root.iterdir()
                if path.name not in _OWN and not path.name.startswith(".")
            )
            if foreign:
                raise LakeError(
                    f"{self.root} holds other things ({', '.join(foreign[:3])}) and is no lake",
                    hint="choose an empty or a new folder with --lake",
                )
            for name in ("artifacts", "releases", "tmp"):
                (self.root / name).mkdir(exist_ok=True)
            self.clips.table.create()
            self.outcomes.table.create()
        marker = json.dumps({"format": FORMAT}) + "\n"
        write_atomic(self.root / _MARKER, marker.encode(), point="lake.marker")
