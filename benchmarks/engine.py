"""What the engine costs: no-op items through a pool, beside the least that Ray itself takes.

    python benchmarks/engine.py [--items 10000] [--workers 2]

Prints one JSON line:

- ``engine_ms``: wall milliseconds an item and stage, through :class:`WorkerPool` (at most 2);
- ``ray_ms``: the same no-op as bare Ray actor calls in a `ray.wait` window, one in flight an
  actor: no window in bytes, no notes, no watchdog, no process of its own. The ceiling;
- ``call_ns``: the same no-op as a plain function call;
- ``ratio``: ``ray_ms / engine_ms``, 1 would be a free engine;
- ``growth_mib``: growth of the driver's resident memory over the second half of the items.
"""

import argparse
import json
import os
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from infra.engine.base import Item, Resources, WorkerSpec
from infra.engine.open import open_engine
from infra.settings import load_settings


class Quiet:
    """Does nothing."""

    def run(self, payload: int, note: Any = None) -> int:
        """Return the payload."""
        return payload

    def close(self) -> None:
        """Nothing to close."""


def resident_mib() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / (1 << 20)


def bare_ray(items: int, workers: int) -> float:
    """Seconds that ``items`` bare actor calls take, one in flight an actor."""
    import ray

    actor = ray.remote(Quiet).options(num_cpus=0)
    idle = [actor.remote() for _ in range(workers)]
    ray.get([one.run.remote(0) for one in idle])
    began = time.perf_counter()
    flying: dict[Any, Any] = {}
    payloads = iter(range(items))
    done = 0
    while done < items:
        for payload in islice(payloads, len(idle)):
            one = idle.pop()
            flying[one.run.remote(payload)] = one
        [ready], _ = ray.wait(list(flying), num_returns=1)
        ray.get(ready)
        idle.append(flying.pop(ready))
        done += 1
    return time.perf_counter() - began


def main() -> None:
    """Measure, and print one line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    items, workers = arguments.items, arguments.workers

    began = time.perf_counter()
    with open_engine("ray", load_settings(workers=workers)) as engine:
        open_seconds = time.perf_counter() - began
        pool = engine.pool("quiet", WorkerSpec("engine:Quiet"), Resources(num_cpus=0.5), workers)
        list(pool.run(Item(str(n), n) for n in range(10 * workers)))

        def work() -> Iterator[Item]:
            return (Item(f"{n:032x}", n, size=1) for n in range(items))

        memory: dict[int, float] = {}
        began = time.perf_counter()
        for n, _ in enumerate(pool.run(work())):
            if n in (items // 2, items - 1):
                memory[n] = resident_mib()
        engine_seconds = time.perf_counter() - began
        ray_seconds = bare_ray(items, workers)
        began = time.perf_counter()
    close_seconds = time.perf_counter() - began

    quiet = Quiet()
    began = time.perf_counter()
    for n in range(items):
        quiet.run(n)
    call_seconds = time.perf_counter() - began

    first, last = memory.values()
    line = {
        "benchmark": "engine",
        "items": items,
        "workers": workers,
        "cores": os.cpu_count(),
        "open_s": round(open_seconds, 2),
        "close_s": round(close_seconds, 2),
        "engine_ms": round(engine_seconds / items * 1e3, 3),
        "ray_ms": round(ray_seconds / items * 1e3, 3),
        "call_ns": round(call_seconds / items * 1e9),
        "ratio": round(ray_seconds / engine_seconds, 3),
        "growth_mib": round(last - first, 2),
        "passed": engine_seconds / items <= 2e-3 and last - first < 4,
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
