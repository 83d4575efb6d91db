"""A classical no-reference quality score: how far video strays from what cameras record.

The clip is seen through fragments: small squares in their original resolution, on a grid
over a few pairs of consecutive frames (the sampling of FAST-VQA, Wu et al. 2022). Four
terms are measured on their luma (BT.601, grey levels 0..255), each higher when worse:

- *softness*, in bits. Pictures of the world have detail at every scale (Field 1987); blur,
  upscaling and coarse quantisation empty the finest octaves. With V the variance of a
  fragment and E1, E2 the energies of its second differences at steps of 1 and 2 pixels::

      log2(V + 16) - (log2(E1 + 1/4) + log2(E2 + 1/4)) / 2

  averaged over the fragments, half plainly, half weighted by their standard deviation. A
  bigger picture may be softer per pixel and show as much: 1.25 bits are allowed per
  doubling of its shorter side, counted from 144 pixels.
- *noise*, in grey levels. Immerkaer's operator (1996) removes what is locally linear. Its
  response S, and that of the difference of two consecutive frames T, in the flattest
  fifth of the fragments, both bound temporal noise from above: texture raises S, motion T.
  What S has beyond T is texture or a fixed pattern, and counts half. Before the energies
  above are compared, 6 S^2 (white noise's share in them) is taken off.
- *blockiness*, a share of the mean gradient. Block coding leaves steps at every eighth
  pixel (after Wang, Sheikh and Bovik 2002): how much more a gradient stands out from its
  neighbours at the worst phase of that grid than at the median one; along rows or along
  columns, whichever is worse (square pixels made of others keep the grid in one of them).
- *emptiness*, in bits: log2(1 + 16 / V) of the mean variance; a black clip has no quality.

The score is a logistic function of their weighted sum. The form of the terms and their inner
constants were settled by hand, in several rounds, with distorted copies of all clips of
``benchmarks/quality.py`` but three photographs in sight; the weights by grid searches over
the clips that it calls development: every pair of clip and distorted clip ordered rightly,
and a wide gap between a ruined talking head (``carphone_distorted``) and the poorest clip
that is to be kept. 0.5 lies in that gap.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from stages.frames import SourceFrames
from stages.models.verdict import Verdict

FRAGMENT = 32
"""Side of a fragment, in pixels: a multiple of the block grid."""

_BLOCK = 8
_REACH = 2  # pixels to each side that the widest operator looks at
_TILE = 14  # side; two fit into a fragment without its margin of that reach
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)

_FLAT_SHARE = 20  # percent of the fragments that noise is read from
_INVISIBLE = 0.25  # energy of a quarter of a squared grey level: rounding
_FAINT = 16.0  # variance below which contrast says little
_NOISE_FLOOR = 1 / 16  # taking noise off an energy leaves at least this share of it
_STEP_CLIP = 4.0  # grey levels; edges of objects must not drown the faint steps of coding

_SIZE_BITS = 1.25
_SIZE_BASE = 144
_NOISE_WEIGHT = 2.4
_NOISE_ONSET = 1.5  # grey levels; camera noise below it hardly counts
_BLOCK_WEIGHT = 5.0
_MIDDLE = 4.95  # weighted sum that scores 0.5


@dataclass(frozen=True)
class Terms:
    """What is wrong with a clip (see the module's text for formulas).

    Attributes:
        softness: Bits by which fine detail falls short of contrast, size allowed for.
        noise: Standard deviation in grey levels.
        blockiness: Excess step of the block grid, as a share of the mean gradient.
        emptiness: Bits of missing contrast.
    """

    softness: float
    noise: float
    blockiness: float
    emptiness: float

    @property
    def logit(self) -> float:
        """The terms as one number without bounds; falls strictly with each of them."""
        noise = np.log2(1 + (self.noise / _NOISE_ONSET) ** 3)
        return float(
            _MIDDLE
            - self.softness
            - _NOISE_WEIGHT * noise
            - _BLOCK_WEIGHT * self.blockiness
            - self.emptiness
        )

    @property
    def score(self) -> float:
        """The logit brought into 0..1."""
        return float(1 / (1 + np.exp(-self.logit)))

    @property
    def complaint(self) -> str:
        """The worst term in words: the one farthest beyond what good video has."""
        excess = {
            self.emptiness / _USUAL.emptiness: "the picture is nearly empty",
            self.softness / _USUAL.softness: (
                f"blur or upscaling dominates: fine detail is {self.softness:.1f} bits short,"
                f" below {_USUAL.softness} is usual"
            ),
            self.noise / _USUAL.noise: (
                f"noise dominates: {self.noise:.1f} grey levels, below {_USUAL.noise} is usual"
            ),
            self.blockiness / _USUAL.blockiness: (
                f"compression artefacts dominate: block edges stand out by {self.blockiness:.0%}"
                f" of the mean gradient, below {_USUAL.blockiness:.0%} is usual"
            ),
        }
        return excess[max(excess)]


# Beyond these a term stands out among clips of ordinary quality.
_USUAL = Terms(softness=4.7, noise=1.5, blockiness=0.15, emptiness=1.0)


class Naturalness:
    """The classical quality model.

    Args:
        groups: Pairs of consecutive frames, spread evenly over the clip.
        grid: Fragments a frame, in each direction; fewer where they would overlap.
    """

    def __init__(self, groups: int = 6, grid: int = 7) -> None:
        self._groups = groups
        self._grid = grid

    def indices(self, frames: int) -> list[int]:
        """First and second frames of the groups, each at the middle of its share of the clip.

        Args:
            frames: Length of the clip, at least 1.

        Returns:
            An even number of indices: one pair after the other. Short clips have fewer
            groups, so that none overlap; a single frame is paired with itself.
        """
        if frames < 2:
            return [0, 0]
        groups = min(self._groups, frames // 2)
        firsts = [frames * (2 * group + 1) // (2 * groups) - 1 for group in range(groups)]
        return [index for first in firsts for index in (first, first + 1)]

    def terms(self, frames: Sequence[np.ndarray]) -> Terms:
        """What is wrong with a clip, by pairs of consecutive frames as `indices` orders them.

        Args:
            frames: (H, W, 3) uint8 RGB each, of one size, an even number of them.

        Raises:
            ValueError: A side is shorter than 16 pixels.
        """
        fragments = np.stack([cut_fragments(frame, self._grid) for frame in frames])
        return measure(fragments, short_side=min(frames[0].shape[:2]))

    def __call__(self, source: SourceFrames, clip: str) -> Verdict:
        """Judge a clip by the frames of `indices`; see `terms`. Its id plays no part."""
        indices = self.indices(len(source))
        terms = self.terms(source.at(indices))
        facts = {name: round(value, 4) for name, value in asdict(terms).items()}
        return Verdict(round(terms.score, 6), facts, terms.complaint, indices)


def cut_fragments(frame: np.ndarray, grid: int) -> np.ndarray:
    """Luma of the fragments of a frame: one at the middle of each cell of a grid.

    Fragments begin at multiples of 8 pixels, so that they agree on where blocks begin.

    Args:
        frame: (H, W, 3) uint8 RGB.
        grid: Cells in each direction, at most.

    Returns:
        (fragments, side, side) float32 in 0..255; the side is 32, or what a smaller
        frame has room for.

    Raises:
        ValueError: A side is shorter than 16 pixels.
    """
    height, width = frame.shape[:2]
    side = min(FRAGMENT, height // _BLOCK * _BLOCK, width // _BLOCK * _BLOCK)
    if side < 2 * _BLOCK:
        raise ValueError(f"a frame of {width}x{height}: both sides must be 16 pixels or more")
    luma = [
        frame[y : y + side, x : x + side] @ _LUMA
        for y in _starts(height, side, grid)
        for x in _starts(width, side, grid)
    ]
    return np.stack(luma)


def _starts(length: int, side: int, grid: int) -> list[int]:
    cells = min(grid, length // side)
    middles = [length * (2 * cell + 1) / (2 * cells) for cell in range(cells)]
    return [int(middle - side / 2) // _BLOCK * _BLOCK for middle in middles]


def measure(luma: np.ndarray, short_side: int) -> Terms:
    """The four terms of a clip.

    Args:
        luma: (frames, fragments, side, side) float32 in 0..255; frames 2k and 2k+1 are
            consecutive in the clip.
        short_side: Shorter side of the whole picture, in pixels.
    """
    first, second = luma[0::2], luma[1::2]
    spatial, noise = _noise(first, second)
    variance = first.var(axis=(-2, -1), dtype=np.float64)
    return Terms(
        softness=_softness(first, variance, spatial) - _size_allowance(short_side),
        noise=noise,
        blockiness=max(_steps(first), _steps(first.swapaxes(-1, -2))),
        emptiness=float(np.log2(1 + _FAINT / (variance.mean() + _FAINT / 1024))),
    )


def _size_allowance(short_side: int) -> float:
    return float(_SIZE_BITS * np.log2(short_side / _SIZE_BASE))


def _softness(luma: np.ndarray, variance: np.ndarray, noise: float) -> float:
    """Bits from fine detail up to contrast, over the fragments; `noise` is taken off both."""

    def without_noise(energy: np.ndarray, share: float) -> np.ndarray:
        return np.asarray(np.maximum(energy - share * noise**2, energy * _NOISE_FLOOR))

    steps = ((0, 1), (1, 0), (0, 2), (2, 0))
    energies = [_tile_energy(_bend(luma, down, right)) for down, right in steps]
    detail = np.mean([np.log2(without_noise(e, 6) + _INVISIBLE) for e in energies], axis=0)
    bits = np.log2(without_noise(variance, 1) + _FAINT) - detail.mean(axis=(-2, -1))
    weights = np.sqrt(variance + _INVISIBLE)
    return float((bits.mean() + np.average(bits, weights=weights)) / 2)


def _seen(luma: np.ndarray, down: int, right: int) -> np.ndarray:
    """What the middle of each fragment sees so many pixels away, at most its reach."""
    rows = slice(_REACH + down, luma.shape[-2] - _REACH + down)
    columns = slice(_REACH + right, luma.shape[-1] - _REACH + right)
    return luma[..., rows, columns]


def _bend(luma: np.ndarray, down: int, right: int) -> np.ndarray:
    """Second difference at a step."""
    beyond = _seen(luma, down, right) + _seen(luma, -down, -right)
    return np.asarray(2 * _seen(luma, 0, 0) - beyond)


def _noise(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Spatial noise, and noise in all, in grey levels."""
    one, other = _immerkaer(first), _immerkaer(second)
    spatial = _flattest(one)
    temporal = _flattest((one - other) / np.sqrt(np.float32(2)))
    return spatial, (spatial + min(spatial, temporal)) / 2


def _immerkaer(luma: np.ndarray) -> np.ndarray:
    """Response of [[1,-2,1],[-2,4,-2],[1,-2,1]] / 6, which keeps white noise's deviation."""
    above, here, below = (
        _seen(luma, down, -1) - 2 * _seen(luma, down, 0) + _seen(luma, down, 1)
        for down in (-1, 0, 1)
    )
    return np.asarray((above - 2 * here + below) / 6)


def _flattest(response: np.ndarray) -> float:
    return float(np.sqrt(np.percentile(_tile_energy(response), _FLAT_SHARE)))


def _tile_energy(response: np.ndarray) -> np.ndarray:
    """Mean square over each tile of the fragments: (..., tiles, tiles)."""
    *shape, side, _ = response.shape
    tile = min(_TILE, side)
    tiles = side // tile
    squares = np.square(response[..., : tiles * tile, : tiles * tile])
    tiled = squares.reshape(*shape, tiles, tile, tiles, tile)
    return np.asarray(tiled.mean(axis=(-3, -1), dtype=np.float64))


def _steps(luma: np.ndarray) -> float:
    """How much gradients along rows stand out at one phase of the block grid."""
    gradient = np.abs(np.diff(luma, axis=-1))
    step = gradient[..., 1:-1] - (gradient[..., :-2] + gradient[..., 2:]) / 2
    step = np.clip(step, -_STEP_CLIP, _STEP_CLIP)
    columns = step.mean(axis=tuple(range(step.ndim - 1)), dtype=np.float64)
    phases = np.array([columns[phase::_BLOCK].mean() for phase in range(_BLOCK)])
    mean = np.minimum(gradient, _STEP_CLIP).mean(dtype=np.float64)
    return float((phases.max() - np.median(phases)) / (mean + 0.1))
