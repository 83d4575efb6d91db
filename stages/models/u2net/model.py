"""Mattes of a film by U^2-Net, on ONNX Runtime or on torch."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from infra.errors import WeightsError
from stages.models.nets import Precision, best_device, load_state, one_thread, ready_net
from stages.models.onnx_session import OnnxNet
from stages.models.u2net.network import NETWORKS, SIZE
from stages.models.u2net.pictures import prepare, stretch

Runtime = Literal["onnx", "torch"]

Maps = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""A network: a batch (N, 3, S, S) as `prepare` makes it, to fused maps (N, S, S) in 0..1."""


class U2NetMatting:
    """Soft mattes of a film.

    Args:
        net: ``u2net_human_seg`` or ``u2netp``.
        runtime: What runs it; decides which of the registry's files is loaded.
        batch: Pictures shown to the network at once; changes no result.
        precision: Of torch on a GPU; everything else is float32.
        radius: Frames on either side that share their range (see `stretch`); with 0, every
            frame is by itself, as published.
        size: Side of the square that the network is shown.

    Attributes:
        size: The same.

    Raises:
        WeightsError: The weight is not here, or no such network.
    """

    def __init__(
        self,
        net: str,
        *,
        runtime: Runtime = "onnx",
        batch: int = 4,
        precision: Precision = "float32",
        radius: int = 0,
        size: int = SIZE,
    ) -> None:
        self.size = size
        self._batch, self._radius = batch, radius
        self._maps = onnx_maps(net, size) if runtime == "onnx" else torch_maps(net, precision)

    def mattes(self, pictures: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        """Alphas of pictures that follow each other in time.

        Args:
            pictures: (size, size, 3) uint8 RGB, read ``batch`` at a time.

        Yields:
            (size, size) float32 in 0..1, as many as came in.
        """
        return stretch(self._raw(iter(pictures)), self._radius)

    def _raw(self, pictures: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        while batch := list(islice(pictures, self._batch)):
            yield from self._maps(prepare(batch))


def onnx_maps(net: str, size: int = SIZE) -> Maps:
    """A network of the registry on ONNX Runtime.

    Raises:
        WeightsError: It is not here, or the file is another network.
    """
    session = OnnxNet.of_weight(net, (3, size, size))

    def maps(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        (fused,) = session(batch)
        if fused.shape != (len(batch), 1, size, size):
            raise WeightsError(
                f"{net} gives {fused.shape} for {len(batch)} pictures of {size}x{size}: it is"
                " another network",
                hint="see `limelight weights list` for the file that is meant",
            )
        return fused[:, 0]

    return maps


def torch_maps(net: str, precision: Precision = "float32") -> Maps:
    """A network of the registry on torch; ``precision`` counts on a GPU alone.

    Raises:
        WeightsError: It is not here, or the file is another network.
    """
    weight, device = f"{net}_torch", best_device()
    if device.type == "cpu":
        precision = "float32"
    network = ready_net(
        NETWORKS[net](), load_state(weight), name=weight, device=device, precision=precision
    )
    kind: torch.dtype = getattr(torch, precision)

    def maps(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        with one_thread(), torch.inference_mode():
            # Channels last is what a GPU's tensor cores take; the processor does not mind.
            shown = torch.from_numpy(batch).to(device, kind, memory_format=torch.channels_last)
            found: NDArray[np.float32] = network(shown)[0][:, 0].float().cpu().numpy()
            return found

    return maps
