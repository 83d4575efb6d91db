"""Long videos in windows: which frames the network sees at once, and how their results are joined.

A video is slot 0, the reference, and its frames 1, 2, ... after that. Every window begins with
slot 0, as all training samples do. Results are joined at every step of sampling (MultiDiffusion,
Bar-Tal et al. 2023), by weights that fall towards a window's ends.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def window_list(frames: int, window: int = 16, overlap: int = 6) -> list[tuple[int, ...]]:
    """The windows of a video, each ``window`` slots: slot 0, then a run of frames.

    They are LCVD's wherever its code gives any; the last is moved back to end with the video, so
    it may share more than ``overlap`` with the one before.

    A video of fewer slots than a window gets one window all the same, whose indices run on past
    its end: what stands there is the last frame, held (see `held`), and is thrown away. The
    network knows windows of one length only, and clips that stand still it has seen; a shorter
    window it has not. The held frames get noise of their own, as all frames have in training.

    Args:
        frames: Slots of the video, 1 for the reference included.
        window: Slots that the network sees at once.
        overlap: Slots that neighbours share, slot 0 among them.

    Raises:
        ValueError: No frame beside the reference, or windows that do not move on.
    """
    if frames < 2:
        raise ValueError(f"frames = {frames}: the reference and at least one more are needed")
    if not 1 <= overlap < window:
        raise ValueError(f"window = {window}, overlap = {overlap}: 1 <= overlap < window is needed")
    last = max(frames, window) - window
    starts = [*range(0, last + 1, window - overlap)]
    if starts[-1] < last:
        starts.append(last)
    return [(0, *range(start + 1, start + window)) for start in starts]


def held(indices: Sequence[int], frames: int) -> list[int]:
    """Those indices, but the last of ``frames`` slots for all that lie past it."""
    return [min(index, frames - 1) for index in indices]


def window_weights(window: int) -> Tensor:
    """How much a slot's result counts (window,): a triangle over the slots, above 0 everywhere."""
    rise = 2 * torch.arange(window) + 1
    return torch.minimum(rise, rise.flip(0)) / window
