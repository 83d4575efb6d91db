"""LCVD's adapters: small networks that look at a picture and add to the UNet's first features.

Guo et al., "High-Fidelity Relightable Monocular Portrait Animation with Lighting-Controllable
Video Diffusion Model" (CVPR 2025). The shading, the reference and the landmarks each have one;
the three are alike.
"""

import torch
from torch import nn

_CONVOLUTIONS = (
    # in, out, kernel, stride
    (3, 3, 3, 1),
    (3, 16, 4, 2),
    (16, 16, 3, 1),
    (16, 32, 4, 2),
    (32, 32, 3, 1),
    (32, 64, 4, 2),
    (64, 64, 3, 1),
    (64, 128, 3, 1),
)


class Adapter(nn.Module):
    """Features of a picture, of an eighth of its size; each picture by itself.

    A new one gives zeros, so that training starts from what the UNet can do without it.

    Args:
        width: Channels of the features: those of the UNet's finest level.
    """

    def __init__(self, width: int = 320) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((1,), 2.0))
        layers: list[nn.Module] = []
        for inside, outside, kernel, stride in _CONVOLUTIONS:
            convolution = nn.Conv2d(inside, outside, kernel, stride, padding=1)
            # Standard deviation sqrt(2 / (kernel^2 * in)): He et al. 2015.
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
            layers += [convolution, nn.SiLU()]
        self.conv_layers = nn.Sequential(*layers)
        self.final_proj = nn.Conv2d(_CONVOLUTIONS[-1][1], width, 1)
        nn.init.zeros_(self.final_proj.weight)
        nn.init.zeros_(self.final_proj.bias)  # type: ignore[arg-type]

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Features (N, width, S/8, S/8) of pictures (N, 3, S, S).

        Shading and landmarks are in [0, 1], the reference is in [-1, 1].
        """
        features: torch.Tensor = self.final_proj(self.conv_layers(pictures)) * self.scale
        return features
