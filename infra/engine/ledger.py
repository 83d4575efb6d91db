"""The ledger: what the pools of one engine hold of the cluster, so that none of them starves.

Ray alone would let an actor wait for ever for cores that an idle pool of ours sits on.
"""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock

from infra.engine.base import Resources

_UNITS = 10_000  # Ray counts resources in ten-thousandths
_WISH_SECONDS = 2.0

Amounts = dict[str, int]


def amounts(resources: Resources) -> Amounts:
    """What a worker takes, by Ray's names, in ten-thousandths."""
    asked = {"CPU": resources.num_cpus, "GPU": resources.num_gpus, **resources.custom}
    return {name: round(value * _UNITS) for name, value in asked.items() if value > 0}


def in_units(available: Mapping[str, float]) -> Amounts:
    """A node's resources in ten-thousandths."""
    return {name: round(value * _UNITS) for name, value in available.items()}


def fitting(ask: Amounts, node: Amounts) -> int | None:
    """How many workers fit on a node; None where they take nothing and any number does."""
    return min((node.get(name, 0) // amount for name, amount in ask.items()), default=None)


class Ledger:
    """Hands out the cluster's resources to pools.

    Args:
        total: What the cluster has, in ten-thousandths.
    """

    def __init__(self, total: Mapping[str, int]) -> None:
        self._free = Counter(total)
        self._held: Counter[str] = Counter()
        self._wishes: dict[str, tuple[float, Amounts]] = {}
        self._lock = Lock()

    def hire(self, pool: str, ask: Amounts) -> bool:
        """Book one worker for ``pool``; False where nothing is free now (ask again soon)."""
        with self._lock:
            # What a pool gave up for one that has no worker, it does not snatch back.
            if self._held[pool] and self._starving(pool, ask):
                return False
            if any(self._free[name] < amount for name, amount in ask.items()):
                self._wishes[pool] = (time.monotonic(), ask)
                return False
            self._free.subtract(ask)
            self._held[pool] += 1
            self._wishes.pop(pool, None)
            return True

    def release(self, pool: str, ask: Amounts) -> None:
        """Book one worker of ``pool`` out again."""
        with self._lock:
            self._free.update(ask)
            self._held[pool] -= 1

    def must_yield(self, pool: str, ask: Amounts, *, idle: bool) -> bool:
        """Whether a worker of ``pool`` should go, for the sake of another pool.

        An idle worker goes for anyone who waits for what it holds; a busy one (between two
        items) for a pool that has none at all, if its own pool has others.
        """
        with self._lock:
            if idle:
                return bool(self._waiting(pool, ask))
            return self._held[pool] > 1 and self._starving(pool, ask)

    def _waiting(self, pool: str, ask: Amounts) -> list[str]:
        """The other pools that want something of what ``ask`` takes."""
        recent = time.monotonic() - _WISH_SECONDS
        return [
            other
            for other, (when, wish) in self._wishes.items()
            if other != pool and when > recent and wish.keys() & ask.keys()
        ]

    def _starving(self, pool: str, ask: Amounts) -> bool:
        return any(not self._held[other] for other in self._waiting(pool, ask))


@dataclass(frozen=True)
class Claim:
    """A pool's claim on the cluster.

    Attributes:
        pool: The pool's name.
        ask: What one of its workers takes.
        ledger: The ledger that books it.
    """

    pool: str
    ask: Amounts
    ledger: Ledger

    def hire(self) -> bool:
        """See :meth:`Ledger.hire`."""
        return self.ledger.hire(self.pool, self.ask)

    def release(self) -> None:
        """See :meth:`Ledger.release`."""
        self.ledger.release(self.pool, self.ask)

    def must_yield(self, *, idle: bool) -> bool:
        """See :meth:`Ledger.must_yield`."""
        return self.ledger.must_yield(self.pool, self.ask, idle=idle)
