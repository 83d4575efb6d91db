"""Latents without a network: the low frequencies of a picture's 8x8 blocks.

A picture's colours are turned into brightness and two opponent colours; each 8x8 block of each
goes through a cosine transform (DCT-II, as in JPEG), and the lowest frequencies are kept. Both
steps are orthonormal, so all that is lost is what is not kept.

How strong the coefficients are was measured on pictures brought to 128x128 (all blocks; root
mean square about 0, for the diffusion subtracts no mean): skimage's astronaut, chelsea, coffee
and rocket, and every 20th frame of eight films, most of them of talking heads. The constant
ones were 5.9 (pictures) and 5.5 (films) in brightness, 3.5 and 2.4 in red-blue, 0.93 and 1.0 in
green; at 256 and 512 pixels they differ by less than a fifth. Brightness at u + v = 1..5 was
1.6, 0.79, 0.48, 0.32, 0.24: about the constant one by ``(1 + u + v)**2``.

So each colour axis is divided by its constant coefficient's strength, `STRENGTH`, and so are its
other frequencies: detail stays as faint beside the whole as it is in pictures, and the diffusion
finds it last. To make it stronger (each frequency times ``1 + u + v``, half of what would make them
all as strong as the constant one) was tried: the loss is then mostly that of detail which nothing
predicts, and training gets less far.

With 20 and 3, at 128 pixels, the talking heads come back at 34..38 dB, the pictures at 26..33.
"""

import math

import torch
import torch.nn.functional as F  # noqa: N812

from infra.digests import digest_json
from training.model.latents import FACTOR, check_pictures

STRENGTH = (6.0, 3.0, 1.0)
"""Root mean square of a block's constant coefficient: brightness, red-blue, green-magenta."""

_AXES = ((1.0, 1.0, 1.0), (1.0, 0.0, -1.0), (1.0, -2.0, 1.0))


class BlockCodec:
    """The lowest frequencies of 8x8 blocks as latents; linear, and without noise.

    Args:
        luma: Frequencies of brightness that are kept, of 64.
        chroma: Frequencies of each of the two colours that are kept, of 64.
        device: Where it shall run.
    """

    factor = FACTOR
    scale = 1.0

    def __init__(self, luma: int, chroma: int, device: torch.device | None = None) -> None:
        self.channels = luma + 2 * chroma
        order = zigzag()
        kept = [(0, *uv) for uv in order[:luma]]
        kept += [(axis, *uv) for axis in (1, 2) for uv in order[:chroma]]
        rows = [(axis * FACTOR + u) * FACTOR + v for axis, u, v in kept]
        gains = [1 / STRENGTH[axis] for axis, _, _ in kept]
        basis, gain = orthonormal_basis()[rows], torch.tensor(gains, dtype=torch.float64)
        self._encode = (gain[:, None] * basis).float().to(device)
        self._decode = (basis / gain[:, None]).T.float().contiguous().to(device)
        self.digest = digest_json({"blocks": 2, "kept": kept, "gains": gains})

    def moments(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `LatentCodec.moments`; the standard deviation is 0."""
        check_pictures(pictures)
        pixels = F.pixel_unshuffle(pictures.to(self._encode), FACTOR)
        mean = F.conv2d(pixels, self._encode[:, :, None, None])
        return mean, torch.zeros_like(mean)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """See `LatentCodec.decode`."""
        pixels = F.conv2d(latents.to(self._decode), self._decode[:, :, None, None])
        return F.pixel_shuffle(pixels, FACTOR)


def orthonormal_basis() -> torch.Tensor:
    """All coefficients of a block from its pixels, float64 (192, 192), an orthonormal matrix.

    Rows are (axis, u, v), columns (colour, y, x), both in this order.
    """
    axes = torch.tensor(_AXES, dtype=torch.float64)
    axes = axes / axes.norm(dim=1, keepdim=True)
    place = torch.arange(FACTOR, dtype=torch.float64)
    waves = torch.cos(math.pi * (2 * place[None] + 1) * place[:, None] / (2 * FACTOR))
    waves = waves * math.sqrt(2 / FACTOR)
    waves[0] /= math.sqrt(2)
    return torch.kron(axes, torch.kron(waves, waves))


def zigzag() -> list[tuple[int, int]]:
    """The frequencies (u, v) of a block, low ones first, in JPEG's order."""
    places = [(u, v) for u in range(FACTOR) for v in range(FACTOR)]
    return sorted(places, key=lambda uv: (sum(uv), uv[0] if sum(uv) % 2 else uv[1]))
