"""The Ray cluster under the engine: one of our own on this machine, or one that we attach to."""

import logging
import os
import secrets
import shutil
import signal
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import ray

from infra.engine.base import Resources
from infra.engine.ledger import Amounts, amounts, fitting, in_units
from infra.errors import EngineError
from infra.processes import Process
from infra.settings import Settings

_PREFIX = "ll-"
_LONGEST_TEMPORARY = 24
"""A socket's path has at most 107 bytes, and Ray adds some 70 of its own."""

_VARIABLES = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH", "RAY_USAGE_STATS_ENABLED")

_TOKEN = secrets.token_hex(32)
"""One for all the clusters of this process, because Ray keeps the first that it reads."""


class Cluster:
    """A connection to Ray; closing it ends what it started.

    Args:
        settings: ``ray_address``, and what a Ray of our own is to look like.

    Raises:
        EngineError: Ray does not start, or does not answer.
    """

    def __init__(self, settings: Settings) -> None:
        if ray.is_initialized():
            raise EngineError(
                "this process is connected to Ray already",
                hint="close the other engine first; its pools can be shared by all threads",
            )
        self._environment = {name: os.environ.get(name) for name in _VARIABLES}
        self.folder = _fresh_folder()
        try:
            if settings.ray_address:
                _init(address=settings.ray_address)
            else:
                self._start(settings)
        except BaseException as error:
            self.close()
            if not isinstance(error, Exception):
                raise
            where = settings.ray_address or "this machine"
            raise EngineError(
                f"Ray does not run on {where}: {type(error).__name__}: {error}",
                hint="--backend inline does the work in this process, without Ray",
            ) from error

    def capacity(self, resources: Resources, wanted: int = 1) -> int:
        """How many workers of this kind the whole cluster can hold.

        Raises:
            EngineError: Fewer than ``wanted``.
        """
        ask = amounts(resources)
        nodes = self._nodes()
        rooms = [fitting(ask, node) for node in nodes]
        if None in rooms:  # they take nothing: only the cores bound how many make sense
            return max(wanted, os.cpu_count() or 1)
        room = sum(count for count in rooms if count is not None)
        if room < wanted:
            machines = "; ".join(_words(node) for node in nodes)
            raise EngineError(
                f"{wanted} worker(s) of {_words(ask)} each are asked for, but the cluster "
                f"has room for {room}; its machines have: {machines}",
                hint="ask for fewer or smaller workers, or give the cluster more "
                "(LIMELIGHT_RAY_RESOURCES names custom resources of this machine)",
            )
        return room

    def total(self) -> Amounts:
        """What the machines of the cluster have together, in ten-thousandths."""
        total: Amounts = {}
        for node in self._nodes():
            for name, amount in node.items():
                total[name] = total.get(name, 0) + amount
        return total

    def close(self) -> None:
        """Disconnect, and end a Ray of our own."""
        ray.shutdown()
        for name, value in self._environment.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        if in_main_thread() and signal.getsignal(signal.SIGTERM) is _leave:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, settings: Settings) -> None:
        token = self.folder / "token"
        handle = os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(_TOKEN)
        # Ray listens on every interface: without the token, anyone who reaches the machine
        # could run code here. With no mode set, ray.init turns its token mode on by itself,
        # which works even if Ray was imported long ago.
        os.environ.pop("RAY_AUTH_MODE", None)
        os.environ.update(RAY_AUTH_TOKEN_PATH=str(token), RAY_USAGE_STATS_ENABLED="0")
        cores = len(os.sched_getaffinity(0))
        _init(
            address="local",
            # Ray counts the cores itself (it knows of containers), unless we want more.
            num_cpus=settings.workers if settings.workers > cores else None,
            resources=settings.ray_resources or None,
            include_dashboard=False,
            object_store_memory=settings.object_store_bytes,
            _temp_dir=str(self.folder),
        )

    def _nodes(self) -> list[Amounts]:
        return [in_units(node["Resources"]) for node in ray.nodes() if node["Alive"]]


def _init(**arguments: Any) -> None:
    """Connect, quietly; keep our handler of SIGTERM, over which Ray puts one that aborts."""
    before = signal.getsignal(signal.SIGTERM)
    ray.init(**arguments, log_to_driver=False, logging_level=logging.ERROR)
    if in_main_thread():
        signal.signal(signal.SIGTERM, _leave if before in (None, signal.SIG_DFL) else before)


def in_main_thread() -> bool:
    """Whether this thread may handle signals."""
    return threading.current_thread() is threading.main_thread()


def _leave(sign: int, frame: FrameType | None) -> None:
    """End like after Ctrl-C: every ``finally`` runs, and so every process of ours ends."""
    raise SystemExit(128 + sign)


def _words(have: Mapping[str, int]) -> str:
    """Resources in words, without Ray's own bookkeeping."""
    shown = {name: amount for name, amount in have.items() if _countable(name)}
    return ", ".join(f"{amount / 10_000:g} {name}" for name, amount in shown.items()) or "nothing"


def _countable(name: str) -> bool:
    return not name.startswith("node:") and name not in {"memory", "object_store_memory"}


def _fresh_folder() -> Path:
    """A private folder for this process; those of dead ones are removed on the way."""
    parent = Path(tempfile.gettempdir())
    if len(str(parent)) > _LONGEST_TEMPORARY:
        parent = Path("/tmp")
    for folder in parent.glob(f"{_PREFIX}*-*"):
        pid, _, start = folder.name.removeprefix(_PREFIX).partition("-")
        if folder.stat().st_uid == os.getuid() and pid.isdecimal():
            owner = Process.find(int(pid))
            if owner is None or str(owner.start_time) != start.partition("-")[0]:
                shutil.rmtree(folder, ignore_errors=True)
    ourselves = Process.find(os.getpid())
    assert ourselves is not None
    return Path(
        tempfile.mkdtemp(prefix=f"{_PREFIX}{ourselves.pid}-{ourselves.start_time}-", dir=parent)
    )
