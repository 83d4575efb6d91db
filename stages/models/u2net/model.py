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
from stages.models.u2net.network import NETWORKS, SIZE, U2Net
from stages.models.u2net.pictures import prepare, stretch

Runtime = Literal["onnx", "torch"]

Maps = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""A network: a batch (N, 3, S, S) as `prepare` makes it, to fused maps (N, S, S) in 0..1."""


class U2NetMatting:
    """Soft mattes of a film.

    Args:
        maps: The network.
        size: Side of the square that it is shown.
        batch: Pictures shown to it at once; changes no result.
        radius: Frames on either side that share their range (see `stretch`); with 0, every
            frame is by itself, as published.

    Attributes:
        size: Side of the square that it is shown.
    """

    def __init__(self, maps: Maps, *, size: int = SIZE, batch: int = 4, radius: int = 0) -> None:
        self.size = size
        self._maps, self._batch, self._radius = maps, batch, radius

    @classmethod
    def of_weight(
        cls,
        net: str,
        *,
        runtime: Runtime = "onnx",
        precision: Precision = "float32",
        batch: int = 4,
        radius: int = 0,
    ) -> "U2NetMatting":
        """A network of the registry.

        Args:
            net: ``u2net_human_seg`` or ``u2netp``.
            runtime: What runs it: decides which of the registry's files is loaded.
            precision: Of torch; an ONNX file brings its own.
            batch: As above, on a GPU. The processor takes one at a time, which suits its caches:
                four at once took a third longer on torch, and gained nothing on ONNX Runtime.
            radius: As above.

        Raises:
            WeightsError: The weight is not here, or no such network.
        """
        if runtime == "onnx":
            session = OnnxNet.of_weight(net, (3, SIZE, SIZE))
            maps, device = onnx_maps(session), session.device
        else:
            maps, device = torch_maps(published(net, precision)), best_device().type
        return cls(maps, size=SIZE, batch=1 if device == "cpu" else batch, radius=radius)

    def mattes(self, pictures: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        """Alphas of pictures that follow each other in time.

        Args:
            pictures: (size, size, 3) uint8 RGB, read ``batch`` at a time.

        Yields:
            (size, size) float32 in 0..1, as many as came in.
        """
        return stretch(self._found(iter(pictures)), self._radius)

    def _found(self, pictures: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        while batch := list(islice(pictures, self._batch)):
            yield from self._maps(prepare(batch))


def published(net: str, precision: Precision = "float32") -> U2Net:
    """The network ``net`` with the authors' weights, on the best device, ready for inference.

    Raises:
        WeightsError: They are not here, or those of another network.
    """
    weight = f"{net}_torch"
    return ready_net(NETWORKS[net](), load_state(weight), name=weight, precision=precision)


def onnx_maps(session: OnnxNet) -> Maps:
    """A network on ONNX Runtime; only its first output counts.

    The function raises WeightsError if that is no map of the pictures' size.
    """

    def maps(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        (fused,) = session(batch)
        count, _, *size = batch.shape
        if fused.shape != (count, 1, *size):
            raise WeightsError(
                f"{session.name} makes {fused.shape} of {batch.shape}, not one map of each picture",
                hint="see `limelight weights list` for the file that is meant",
            )
        return fused[:, 0]

    return maps


def torch_maps(net: U2Net) -> Maps:
    """A network on torch, where and in what precision it is."""
    weight = next(net.parameters())

    def maps(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        with one_thread(), torch.inference_mode():
            # Channels last is what a GPU's tensor cores take; the processor gains as well.
            shown = torch.from_numpy(batch).to(
                weight.device, weight.dtype, memory_format=torch.channels_last
            )
            found: NDArray[np.float32] = net(shown)[0][:, 0].float().cpu().numpy()
            return found

    return maps
