"""Files that stages made, under the digest of their content."""

import os
from dataclasses import dataclass
from pathlib import Path

from infra.digests import digest_file
from infra.errors import LakeError
from infra.storage import commit_file


@dataclass(frozen=True)
class Artifact:
    """A file that a stage made of a clip.

    Attributes:
        name: What it is called in a sample, such as ``video.mp4``.
        digest: SHA-256 of its bytes, 64 hexadecimal digits.
        size: Bytes.
    """

    name: str
    digest: str
    size: int


class ArtifactStore:
    """The folder ``artifacts/<stage>/<digest><suffix>``.

    A file in it means nothing until an outcome's row names it; `catalog.sweep` removes the
    rest.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, stage: str, artifact: Artifact) -> Path:
        """Where the artifact lies, or will."""
        return self.root / stage / (artifact.digest + Path(artifact.name).suffix)

    def commit(self, stage: str, name: str, temporary: Path) -> Artifact:
        """Move a finished file into the store, durably.

        Args:
            stage: Whose artifact it is.
            name: What it is called in a sample.
            temporary: The file, on the lake's own file system; it is gone afterwards.

        Raises:
            LakeError: The disk is full or read-only, or reads back other bytes.
        """
        artifact = Artifact(name, digest_file(temporary), temporary.stat().st_size)
        final = self.path(stage, artifact)
        try:
            # The same bytes may have been made before (a crash before their row, a twin
            # clip). Touched, they count as new, so that no sweep takes them from now on.
            os.utime(final)
        except FileNotFoundError:
            pass
        else:
            if self.verify(stage, artifact):
                temporary.unlink()
                return artifact
        commit_file(temporary, final, digest=artifact.digest, point="artifact")
        return artifact

    def verify(self, stage: str, artifact: Artifact) -> bool:
        """Whether the artifact is there, whole, byte for byte."""
        path = self.path(stage, artifact)
        try:
            return path.stat().st_size == artifact.size and digest_file(path) == artifact.digest
        except FileNotFoundError:
            return False

    def require(self, stage: str, artifact: Artifact) -> Path:
        """Path of an artifact that must be there with the right size.

        Raises:
            LakeError: It is missing, or its size is wrong.
        """
        path = self.path(stage, artifact)
        size = path.stat().st_size if path.is_file() else -1
        if size != artifact.size:
            what = "is missing" if size < 0 else f"has {size} bytes, not {artifact.size}"
            raise LakeError(
                f"artifact {artifact.name} of stage {stage} {what} ({path})",
                hint=f"make it again: limelight rerun NAME --stage {stage} --only all",
            )
        return path
