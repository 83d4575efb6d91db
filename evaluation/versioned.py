"""What decides a result: code, options and weights; all that is loaded once and gives results."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

from infra.digests import digest_json
from infra.weights import identity


class Versioned:
    """Something whose results can be kept, for they follow from its digest.

    A subclass states its ``name``, and raises ``version`` whenever its code gives other results.

    Attributes:
        what: What it is, in a word that is part of the digest.
    """

    what: ClassVar[str]
    name: str
    version: ClassVar[int] = 1

    def weights(self) -> tuple[str, ...]:
        """Names (in the weights registry) of the files that it loads."""
        return ()

    def options(self) -> Mapping[str, Any]:
        """What decides its results beside code and weights, in JSON types."""
        return {}

    @cached_property
    def digest(self) -> str:
        """Of all that decides its results; 16 hexadecimal digits."""
        return digest_json(
            {
                self.what: self.name,
                "version": self.version,
                "options": dict(self.options()),
                "weights": {name: identity(name) for name in self.weights()},
            }
        )[:16]

    def setup(self) -> None:
        """Load models; called once, in the worker."""

    def close(self) -> None:
        """Let go of what ``setup`` loaded."""
