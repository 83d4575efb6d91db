"""The networks of diffusers that ours are made of, imported without all else that it can do.

Diffusers is one package for hundreds of models. Whichever is asked for, it first imports what any
of them may work with, where that is installed: transformers, bitsandbytes, scipy. That takes three
times as long as the networks themselves, in every rank of every start.
"""

import importlib.util
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec

_NOT_FOR_OURS = ("transformers", "bitsandbytes", "scipy")


@contextmanager
def _unseen(names: tuple[str, ...]) -> Iterator[None]:
    """Let this thread find no package of such names when it asks whether there is one.

    Imports of the packages themselves find them all the same.
    """
    find, thread = importlib.util.find_spec, threading.get_ident()

    def find_others(name: str, package: str | None = None) -> ModuleSpec | None:
        if name in names and threading.get_ident() == thread:
            return None
        return find(name, package)

    importlib.util.find_spec = find_others
    try:
        yield
    finally:
        importlib.util.find_spec = find


with _unseen(_NOT_FOR_OURS):
    from diffusers.models import AutoencoderKL, UNetSpatioTemporalConditionModel
    from diffusers.models.attention import (
        BasicTransformerBlock,
        FeedForward,
        TemporalBasicTransformerBlock,
    )
    from diffusers.models.resnet import AlphaBlender

__all__ = [
    "AlphaBlender",
    "AutoencoderKL",
    "BasicTransformerBlock",
    "FeedForward",
    "TemporalBasicTransformerBlock",
    "UNetSpatioTemporalConditionModel",
]
