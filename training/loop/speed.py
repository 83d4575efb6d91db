"""How much of what a device could do goes into training: MFU."""

import torch

from training.engine.distributed import World
from training.engine.flops import peak_flops, training_flops
from training.loop.draws import Shapes
from training.model.lcvd import TIME_IDS, Lcvd
from training.recipe import Recipe, Stream


class Utilisation:
    """Model FLOP utilisation (see `training.engine.flops`) of a rank.

    Args:
        recipe: The network, and the precision.
        shapes: Of a sample.
        world: This rank's place.

    Attributes:
        sample: FLOP of a sample's forward and backward pass through network and adapters.
        peak: FLOP a second that the device could do.
    """

    def __init__(self, recipe: Recipe, shapes: Shapes, world: World) -> None:
        dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
        self.sample = sample_flops(recipe, shapes)
        self.peak = peak_flops(world.device, dtypes[recipe.engine.precision])

    def of(self, samples: int, seconds: float) -> float:
        """The share, 0..1, for so many samples in a time."""
        return self.sample * samples / (seconds * self.peak)


def sample_flops(recipe: Recipe, shapes: Shapes) -> int:
    """FLOP of one sample's forward and backward pass; computed on no device."""
    frames, channels, *grid = shapes.latents
    with torch.device("meta"):
        network = Lcvd.build(recipe.model).to("meta")  # diffusers puts some on the processor
        latents = torch.empty(1, frames, 2 * channels, *grid)
        pictures: dict[Stream, torch.Tensor] = {
            # The reference is looked at once for all frames.
            stream: torch.empty(1, 1 if stream == "reference" else frames, 3, *[shapes.size] * 2)
            for stream in recipe.model.adapters
        }
        timestep, time_ids = torch.empty(1), torch.empty(1, TIME_IDS)
        token = torch.empty(1, 1, recipe.model.token_width)
        return training_flops(
            lambda: network(latents, timestep, token, time_ids, pictures=pictures)
        )
