"""Which checkpoint a run goes on from."""

from collections.abc import Callable
from pathlib import Path

from infra.errors import LakeError, UsageError
from training.checkpoint.folder import is_step, step_folder, steps
from training.checkpoint.stored import StoredCheckpoint


def open_checkpoint(
    path: Path, *, verify: bool = True, tell: Callable[[str], None] = print
) -> StoredCheckpoint:
    """A checkpoint by its folder, or the newest whole one by the run's folder of checkpoints.

    Args:
        path: Either folder.
        verify: Compare the digests of all files.
        tell: Told of every newer one that is damaged.

    Raises:
        LakeError: It, or every one, is damaged.
        UsageError: There is none.
    """
    if is_step(path):
        return StoredCheckpoint(path, verify=verify)
    found = open_latest(path, verify=verify, tell=tell)
    if found is None:
        raise UsageError(
            f"there is no checkpoint in {path}",
            hint="give the folder checkpoints of a run, or one of the folders step-... in it",
        )
    return found


def open_latest(
    checkpoints: Path, *, verify: bool = True, tell: Callable[[str], None] = print
) -> StoredCheckpoint | None:
    """The newest checkpoint of a run that is whole.

    With several ranks, one opens it so, and tells the others which step it is: they open that one
    with ``verify=False``, so that it is read once, and all go on from the same.

    Args:
        checkpoints: The run's folder of checkpoints.
        verify: Compare the digests of all files.
        tell: Told of every newer one that is damaged.

    Returns:
        None where there is no checkpoint at all.

    Raises:
        LakeError: There are some, and all are damaged.
    """
    problem = None
    for step in reversed(steps(checkpoints)):
        try:
            return StoredCheckpoint(step_folder(checkpoints, step), verify=verify)
        except LakeError as error:
            problem = error
            tell(f"the checkpoint of step {step} is passed over: {error.message}")
    if problem is not None:
        raise LakeError(
            f"none of the checkpoints in {checkpoints} is whole; {problem.message}",
            hint="move the folder away to begin the run anew",
        )
    return None
