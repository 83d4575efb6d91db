"""One driver a run; see `infra.hold`."""

from contextlib import AbstractContextManager

from infra import hold as locks
from training.loop.folder import RunFolder


def hold(folder: RunFolder) -> AbstractContextManager[None]:
    """Be the one that trains this run, while inside.

    Raises:
        UsageError: Somebody else does.
        LakeError: The run's folder cannot be written.
    """
    return locks.hold(
        folder.root,
        f"the run {folder.root.name} is being trained already",
        "follow it: limelight runs; or choose another name with --name",
    )


def held(folder: RunFolder) -> bool:
    """Whether somebody trains this run now."""
    return locks.held(folder.root)
