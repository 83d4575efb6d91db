"""A model that a stage offers by name: imported only once it is chosen.

The embedded models run on the core's packages alone. The standard ones need more of them
(torch, ONNX Runtime), which a fresh machine may do without, and so may a build that names
none of these models.
"""

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from infra.errors import UsageError


@dataclass(frozen=True)
class Offer:
    """One model on offer.

    Attributes:
        path: ``"module:Class"``; the module is imported by `load`.
        weights: Names, in the weights registry, of the files that it loads.
        packages: Modules beyond the core that it imports.
        hint: What to do where they are missing.
        slowest: Seconds a frame that it may take on a slow processor: a worker that needs so
            long is no worker that hangs.
        slowest_clip: The same for a clip, whatever its length.
        gpu: It runs on a GPU only.
    """

    path: str
    weights: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    hint: str = "pip install 'limelight[models]' (on a CUDA machine: 'limelight[gpu]')"
    slowest: float = 0.0
    slowest_clip: float = 0.0
    gpu: bool = False

    def check(self) -> None:
        """Make sure, without importing anything, that the model could run here.

        Raises:
            UsageError: A package is missing.
        """
        missing = [name for name in self.packages if find_spec(name) is None]
        if missing:
            raise UsageError(
                f"{self.path.partition(':')[2]} needs {', '.join(missing)}, not installed here",
                hint=self.hint,
            )

    def load(self) -> Any:
        """The model's class.

        Raises:
            UsageError: A package is missing.
        """
        self.check()
        module, _, name = self.path.partition(":")
        return getattr(import_module(module), name)
