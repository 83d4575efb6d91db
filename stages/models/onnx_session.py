"""An ONNX network as a plain function of arrays: on the GPU where there is one."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from infra.errors import WeightsError
from infra.weights import weight_path
from stages.models.nets import best_device

ort.set_default_logger_severity(3)  # errors only: exporters leave much to warn of


class OnnxNet:
    """A network of one input: a batch in, its first outputs out.

    Args:
        path: The ONNX file.
        item: Shape of one item of the batch, such as ``(3, 112, 112)``.
        outputs: How many of its outputs, in the file's order, are wanted.
        name: What to call the file in an error; its own name without.
        threads: Of the processor. One, because the parallelism of a build is over clips, and
            sums keep their order.

    Attributes:
        name: What it is called in an error.
        device: Where it runs, ``"cuda"`` or ``"cpu"``.

    Raises:
        WeightsError: The file is not here, no ONNX network, or another one than is meant.
    """

    def __init__(
        self,
        path: Path,
        item: tuple[int, ...],
        *,
        outputs: int = 1,
        name: str = "",
        threads: int = 1,
    ) -> None:
        self.name = name or path.name
        self._item = item
        self._session = self._open(path, threads)
        self.device = "cuda" if "CUDA" in self._session.get_providers()[0] else "cpu"
        self._input, self._at_once = self._check_input()
        names = [each.name for each in self._session.get_outputs()]
        if len(names) < outputs:
            raise self._refusal(f"has {len(names)} outputs, not {outputs}")
        self._outputs = names[:outputs]
        self._bound: tuple[int, ...] = ()  # shape of the batches that a place is bound for

    @classmethod
    def of_weight(cls, weight: str, item: tuple[int, ...], *, outputs: int = 1) -> "OnnxNet":
        """The network of a weight of the registry.

        Raises:
            WeightsError: It cannot be had, or is no such network.
        """
        return cls(weight_path(weight), item, outputs=outputs, name=weight)

    def __call__(self, batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Run the network.

        Args:
            batch: (N, *item) in the network's own range, N at least 1.

        Returns:
            Its outputs, each with N first.
        """
        step = self._at_once or len(batch)
        parts = [self._run(batch[at : at + step]) for at in range(0, len(batch), step)]
        return [np.concatenate(each) for each in zip(*parts, strict=True)]

    def _run(self, batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        batch = np.ascontiguousarray(batch)
        if batch.shape == self._bound:
            self._shown.update_inplace(batch)
        else:
            self._bind(batch)
        self._session.run_with_iobinding(self._binding)
        found: list[NDArray[np.float32]] = self._binding.copy_outputs_to_cpu()
        return found

    def _bind(self, batch: NDArray[np.float32]) -> None:
        """Give the input a place on the device, which all batches of this shape then share."""
        self._bound = batch.shape
        # On the processor, its place is the array itself: a copy, not the caller's.
        self._shown = ort.OrtValue.ortvalue_from_numpy(batch.copy(), self.device, 0)
        self._binding = self._session.io_binding()
        self._binding.bind_ortvalue_input(self._input, self._shown)
        for name in self._outputs:
            self._binding.bind_output(name, self.device)

    def _open(self, path: Path, threads: int) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        providers: list[Any] = ["CPUExecutionProvider"]
        offered = ort.get_available_providers()
        if best_device().type == "cuda" and "CUDAExecutionProvider" in offered:
            # TF32 would keep 10 bits of the mantissa; an exhaustive search for the fastest
            # convolutions would cost seconds for each new size of a batch.
            choice = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
            providers.insert(0, ("CUDAExecutionProvider", choice))
        try:
            return ort.InferenceSession(path, options, providers=providers)
        except Exception as error:  # ONNX Runtime's own have no other class in common
            raise self._refusal(f"at {path} is no ONNX network: {error}") from error

    def _check_input(self) -> tuple[str, int]:
        """Name of the input, and how many items it takes at once (0: any number)."""
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise self._refusal(f"has {len(inputs)} inputs, not 1")
        (only,) = inputs
        batch, *item = only.shape
        # Axes that the file leaves open have names, or none, instead of numbers.
        fits = len(item) == len(self._item) and all(
            found == wanted or not isinstance(found, int)
            for found, wanted in zip(item, self._item, strict=True)
        )
        if only.type != "tensor(float)" or not fits:
            raise self._refusal(
                f"takes {only.type} {only.shape}, not tensor(float) {['N', *self._item]}"
            )
        if isinstance(batch, int) and batch != 1:
            raise self._refusal(f"takes {batch} items at once, not one or any number")
        return only.name, batch if isinstance(batch, int) else 0

    def _refusal(self, words: str) -> WeightsError:
        return WeightsError(
            f"{self.name} {words}", hint="see `limelight weights list` for the file that is meant"
        )
