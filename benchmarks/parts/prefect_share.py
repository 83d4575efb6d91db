"""What Prefect takes of a build: once for each run, and for every second that it lasts."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from catalog.lake import Lake
from flows.builder import Build, Request
from flows.config import BuildConfig
from flows.server import client_environment, ensure_server, server_status
from flows.tally import Tally
from infra.engine.open import open_engine

ROUNDS = 3
SECONDS = 6


@dataclass(frozen=True)
class Share:
    """What was measured.

    Attributes:
        run_s: Wall seconds by which a flow run with nothing to compute is longer than the same
            build without Prefect: start, two tasks, the report.
        idle_cpu: Share of one core that this process and the server take while nothing happens;
            the server, which polls its queues, takes it whether or not there is a build.
        update_s: Core seconds of both for one update of a build's progress and table.
    """

    run_s: float
    idle_cpu: float
    update_s: float

    def of(self, seconds: float, clips: int, partitions: int, cores: int) -> float:
        """Share of a build of so many seconds, clips and partitions on so many cores.

        A partition is one task: it cannot take longer than half of a run with two. Progress is
        updated when a clip is finished, but not more than once a second. The idle server is not
        in it.
        """
        once = self.run_s * (1 + partitions / 2)
        updates = min(clips, seconds) * self.update_s
        return (once + updates / cores) / seconds


def measure_prefect(lake: Path, source: str, name: str) -> Share:
    """Run the flow over a lake in which the build is done, against a server of its own.

    For a process of its own: Prefect reads the environment when it is imported.
    """
    os.environ |= client_environment(lake, ensure_server(lake))
    run_s = _run_seconds(lake, source, name)
    idle, ticking = _cpu_shares(lake)
    return Share(run_s, idle, max(ticking - idle, 0.0))


def _run_seconds(lake: Path, source: str, name: str) -> float:
    from flows.build import build_dataset

    config: Any = BuildConfig()
    flows, builds = [], []
    for number in range(ROUNDS + 1):
        began = time.perf_counter()
        build_dataset(source, name, str(lake), config, "inline")
        flows.append(time.perf_counter() - began)
        began = time.perf_counter()
        request = Request(source, name, config)
        Build(Lake.open(lake), request, lambda: open_engine("inline"), f"bare{number}").all()
        builds.append(time.perf_counter() - began)
    return max(min(flows[1:]) - min(builds[1:]), 0.0)


def _cpu_shares(lake: Path) -> tuple[float, float]:
    """Core seconds a second of this process and the server: idle, and with an update a second."""
    from prefect import flow

    from flows.reporting import Reporter
    from stages.registry import STAGES

    server = server_status(lake)
    assert server is not None
    processes = [psutil.Process(server.pid), psutil.Process()]

    def cpu() -> float:
        return sum(sum(process.cpu_times()[:2]) for process in processes)

    @flow(name="ticks", persist_result=False)
    def ticks(moving: bool) -> float:
        tally = Tally()
        tally.expect(SECONDS * 10)
        with Reporter(tally):
            time.sleep(1)
            began = cpu()
            for _ in range(SECONDS * 10):
                tally.finished += moving
                tally.statuses.update((stage.name, "done") for stage in STAGES)
                time.sleep(0.1)
            return (cpu() - began) / SECONDS

    time.sleep(SECONDS)  # what the runs before left to do
    idle = [float(ticks(False)) for _ in range(2)]
    return min(idle), float(ticks(True))
