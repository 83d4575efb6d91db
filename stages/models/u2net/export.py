"""Writing U^2-Net as ONNX."""

import warnings
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from infra.errors import UsageError
from stages.models.u2net.network import SIZE, U2Net


class _Fused(nn.Module):
    """The network without its side maps."""

    def __init__(self, net: U2Net) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        fused: Tensor = self.net(x)[0]
        return fused


def export_onnx(net: U2Net, path: Path, *, size: int = SIZE) -> None:
    """Write a network as one ONNX file, for batches of any number.

    Its input is ``picture`` (N, 3, size, size), its output ``matte`` (N, 1, size, size): what
    `stages.models.u2net.model` takes, and rembg too. Whether the network was training before
    does not matter: the file is for inference, and the network is left in that mode.

    Args:
        net: The network, on the processor, float32.
        path: The file to be made.
        size: Side of the pictures that it shall take.

    Raises:
        UsageError: The package ``onnx`` is missing.
    """
    if find_spec("onnx") is None:
        raise UsageError(
            "writing ONNX needs onnx, not installed here", hint="pip install 'limelight[dev]'"
        )
    # The exporter puts the outermost module, and all within, back into the mode that it found.
    fused = _Fused(net).eval()
    with warnings.catch_warnings():
        # The older exporter, deprecated: one file, in a second, without onnxscript.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            fused,
            (torch.zeros(1, 3, size, size),),
            path,
            input_names=["picture"],
            output_names=["matte"],
            dynamic_axes={"picture": {0: "batch"}, "matte": {0: "batch"}},
            dynamo=False,
        )
