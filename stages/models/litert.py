"""A TensorFlow Lite net on one thread, as a plain function of arrays."""

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from infra.errors import WeightsError
from infra.weights import weight_path


class LiteNet:
    """One net: one picture (or other array) in, its output tensors out.

    Args:
        weight: The net's name in the registry of weights; or, of a bundle's member, its own.
        content: The member's bytes; by default the registry's file is read.

    Attributes:
        size: Side of the square picture that it takes.

    Raises:
        WeightsError: The net's file cannot be had, or is none.
    """

    def __init__(self, weight: str, content: bytes | None = None) -> None:
        source = {"model_content": content} if content else {"model_path": str(weight_path(weight))}
        try:
            # One thread: the parallelism is over clips, and sums keep their order.
            self._net = Interpreter(**source, num_threads=1)
            self._net.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise WeightsError(
                f"{weight} is no TensorFlow Lite net ({error})",
                hint="see `limelight weights list` for what is here, and pull it again",
            ) from error
        (self._input,) = self._net.get_input_details()
        self._outputs = {each["name"]: each["index"] for each in self._net.get_output_details()}
        self.size = int(self._input["shape"][1])

    def __call__(self, picture: np.ndarray) -> dict[str, np.ndarray]:
        """Run the net.

        Args:
            picture: (size, size, 3) float32 in the net's own range.

        Returns:
            Output tensors by name, float32, without the batch axis (which some do not have);
            the caller's own copies.
        """
        self._net.set_tensor(self._input["index"], picture[None])
        self._net.invoke()
        tensors = {name: self._net.get_tensor(index) for name, index in self._outputs.items()}
        return {name: each[0] if len(each) == 1 else each for name, each in tensors.items()}
