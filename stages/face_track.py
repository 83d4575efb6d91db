"""A face's landmarks in every frame: what a tracker saw, filled up and smoothed."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from stages.models.face_geometry import FaceTrack
from stages.models.faces import FaceModelName, face_model
from stages.smoothing import interpolate, smooth_landmarks
from stages.tracking import FaceFollower, Track

REDETECT = 10
"""Frames from one look of the detector to the next, while nothing is lost."""

MAX_GAP = 10
"""Frames in a row in which the face may be missing from a clip that is kept."""


def track_landmarks(
    frames: Iterable[NDArray[np.uint8]],
    *,
    fps: float,
    model: FaceModelName = "mediapipe",
    min_score: float = 0.9,
    smoothing: float = 0.05,
) -> FaceTrack | None:
    """Landmarks of the largest and most lasting face of frames that follow each other.

    The `landmarks` stage finds the same, and judges it besides; for pictures that do not
    follow each other there is `stages.models.faces.face_landmarks`.

    Args:
        frames: Pictures (H, W, 3), uint8 RGB, all of one size; drawn once, in order.
        fps: Frames a second, above 0.
        model: Name of the nets.
        min_score: Face flag of the mesh net below which there is no face, 0..1.
        smoothing: Smoothing window (standard deviation) in seconds; 0 leaves landmarks raw.

    Returns:
        The face in every frame, interpolated where it was not seen; None where it never was.

    Raises:
        ValueError: ``fps`` is not above 0.
    """
    if fps <= 0:
        raise ValueError(f"fps = {fps:g} must be above 0")
    follower = FaceFollower(
        face_model(model), min_score=min_score, interval=REDETECT, patience=MAX_GAP + REDETECT
    )
    followed = follower.follow(frames)
    if not followed.tracks:
        return None
    track = followed.tracks[0]
    points = every_frame(track, followed.frames, smoothing * fps)
    size = max(followed.width, followed.height)
    return FaceTrack(points, track.seen(followed.frames), fps, size)


def every_frame(track: Track, frames: int, sigma: float = 0.0) -> NDArray[np.float32]:
    """Landmarks of a track in each of a clip's frames.

    Args:
        track: What was seen.
        frames: Number of the clip's.
        sigma: Standard deviation of the smoothing window in frames; 0 leaves them raw.

    Returns:
        (frames, n, 3) pixels: linear between the frames in which the face was seen, held
        before the first and after the last.
    """
    points = interpolate(frames, track.frames, np.stack(track.points))
    sizes = np.interp(np.arange(frames), track.frames, track.sizes)
    return smooth_landmarks(points, sizes, sigma)
