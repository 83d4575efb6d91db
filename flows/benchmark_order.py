"""What somebody asks of a benchmark."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec

from evaluation.protocols.tables import Protocol
from evaluation.records.record import Record
from flows.entrants import Entrant
from training.launch.launchers import find_launcher


def gpus_here() -> float:
    """What a worker asks of the cluster where nobody says: a GPU, where there are any."""
    found = find_launcher("ray").gpus() if find_spec("torch") else 0
    return 1.0 if found else 0.0


@dataclass(frozen=True)
class BenchmarkOrder:
    """What somebody asks for.

    Attributes:
        name: Of the benchmark.
        protocol: On what.
        methods: Which, by their names; the protocol's where there are none.
        metrics: Keys of `evaluation.metrics.registry.METRICS`; the usual ones where there are none.
        retry: Let methods try again where they failed before.
        gpus: That each worker asks of the cluster.
        before: A previous record that this one is held against.
        replace: Whether a record of this name may give way that was judged by another protocol.
    """

    name: str
    protocol: Protocol
    methods: Mapping[str, Entrant] = field(default_factory=dict)
    metrics: Sequence[str] = ()
    retry: bool = False
    gpus: float = 0.0
    before: Record | None = None
    replace: bool = False
