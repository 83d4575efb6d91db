"""What can come of one attempt at an item, as a worker's host tells it to the driver."""

import signal
from dataclasses import dataclass

from infra.engine.base import Kind, WorkerSpec
from infra.errors import EngineError, LakeError, LimelightError, UsageError, WeightsError


@dataclass(frozen=True)
class Success:
    """The worker returned.

    Attributes:
        value: What it returned, pickled; only the driver unpacks it.
        seconds: Wall time of the attempt.
    """

    value: bytes
    seconds: float


@dataclass(frozen=True)
class Failure:
    """The worker raised, or was lost to the item; fields as in :class:`infra.engine.base.Lost`."""

    kind: Kind
    error: str
    message: str
    stderr: str
    note: str
    seconds: float


@dataclass(frozen=True)
class Broken:
    """Something that no other item can survive either; every run of the pool ends with it."""

    error: LimelightError


Attempted = Success | Failure | Broken


HOPELESS = (LakeError, WeightsError, UsageError)
"""What a worker may raise that no other item can survive either: a full disk, a weight that is
another net's, a machine without what the config asks for."""


class HostLostError(Exception):
    """A worker's host is gone: by the cluster or a person, not by the item that it held."""


def error_name(error: BaseException) -> str:
    """Name of an exception's class, with its module unless it is a builtin."""
    kind = type(error)
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def exit_name(status: int) -> str:
    """How a process ended: ``"SIGSEGV"``, or ``"exit 3"``.

    Args:
        status: As in ``subprocess``: the exit code, or minus the signal's number.
    """
    if status >= 0:
        return f"exit {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


def other_worker(pool: str) -> EngineError:
    """The error for a pool that is asked for again, but with workers of another kind."""
    return EngineError(
        f"pool {pool!r} exists already, with workers made otherwise",
        hint="give the pool another name, or open another engine",
    )


def cannot_make(spec: WorkerSpec, what: str, stderr: str = "") -> EngineError:
    """The error for a worker that cannot be made, whatever the item."""
    details = f"\n{stderr}" if stderr else ""
    return EngineError(
        f"no worker can be made by {spec.factory}: {what}{details}",
        hint="mend that, then run the same command again; --backend inline makes the worker "
        "in this process, where a debugger sees it",
    )
