"""A TensorFlow Lite net on one thread, as a plain function of arrays."""

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from infra.weights import weight_path


class LiteNet:
    """One net of the registry: one picture in, its output tensors out.

    Args:
        weight: The net's name in the registry of weights.

    Attributes:
        size: Side of the square picture that it takes.

    Raises:
        WeightsError: The net's file cannot be had.
    """

    def __init__(self, weight: str) -> None:
        # One thread: the parallelism is over clips, and sums keep their order.
        self._net = Interpreter(model_path=str(weight_path(weight)), num_threads=1)
        self._net.allocate_tensors()
        (self._input,) = self._net.get_input_details()
        self._outputs = {each["name"]: each["index"] for each in self._net.get_output_details()}
        self.size = int(self._input["shape"][1])

    def __call__(self, picture: np.ndarray) -> dict[str, np.ndarray]:
        """Run the net.

        Args:
            picture: (size, size, 3) float32 in the net's own range.

        Returns:
            Output tensors by name, float32, without the batch axis; the caller's own copies.
        """
        self._net.set_tensor(self._input["index"], picture[None])
        self._net.invoke()
        return {name: self._net.get_tensor(index)[0] for name, index in self._outputs.items()}
