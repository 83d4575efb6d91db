"""The normal form: one static square around the tracked face, resized and encoded."""

from fractions import Fraction
from typing import Any, Literal

import numpy as np
from pydantic import Field

from stages.base import Product, Rejected, Stage, StageConfig
from stages.clip import Clip
from stages.encode import VideoWriter
from stages.frames import Crop, PortraitFrames
from stages.sound import save_sound

STRAY = 0.02
"""Share of frames that may lie beyond each limit of the face's range: detector slips."""

Fit = Literal["face", "centre", "squash"]


class FrameConfig(StageConfig):
    """How the normal form is cut and encoded."""

    fit: Fit = "face"
    """face: a square around the tracked face; centre: the largest square in the middle;
    squash: the whole picture, its aspect lost (as LCVD does it)."""
    size: int = Field(512, ge=64, le=2048, multiple_of=8)
    """Width and height of the normal form in pixels."""
    margin: float = Field(0.6, ge=0.0, le=3.0)
    """Room on each side of the face's range, in heights of the face mesh (chin to upper
    forehead). 0.6 takes in hair and shoulders: the head fills about half of the height."""
    min_face: int = Field(40, ge=8)
    """Source pixels that the face mesh must be high; less would be enlarged absurdly."""
    audio: bool = False
    """Keep the sound beside the video, as ``audio.m4a``."""
    crf: int = Field(18, ge=0, le=40)
    """Constant rate factor of x264."""
    preset: Literal["ultrafast", "veryfast", "fast", "medium", "slow"] = "veryfast"
    """Preset of x264. veryfast: 200 to 300 frames/s a core at 512; medium a third of that."""
    gop: int = Field(16, ge=1, le=250)
    """Frames from key frame to key frame: what a random 16-frame clip decodes in excess."""


class Frame(Stage[FrameConfig]):
    """Cuts out the static square in which all later stages work, and encodes it.

    Facts: ``crop`` [x, y, w, h] in upright source pixels, ``size``, ``fps``, ``frames``,
    ``fit``, ``face`` (height of the face mesh in normal-form pixels) and ``audio``.
    """

    name = "frame"
    Config = FrameConfig
    needs = ("probe", "landmarks")

    def process(self, clip: Clip) -> Product:
        """Choose the square, write ``video.mp4``, and ``audio.m4a`` if asked for.

        Raises:
            Rejected: The face is too small, or outside the square.
            SourceError: The source is not there, or may not be read.
        """
        config = self.config
        arrays = clip.arrays("landmarks", "landmarks.npz")
        boxes = face_boxes(arrays["points"][arrays["valid"]])
        face = float(np.median(boxes[:, 3] - boxes[:, 1]))
        if face < config.min_face:
            raise Rejected(
                f"the face is {face:.0f} pixels high; at least {config.min_face} are asked for",
                score=face,
            )
        probe = clip.facts["probe"]
        crop = choose_crop(config.fit, boxes, (probe["width"], probe["height"]), config.margin)
        if not _inside(boxes, crop):
            raise Rejected(f"the face is not inside the square that fit = {config.fit!r} takes")
        fps = Fraction(probe["fps"])
        facts: dict[str, Any] = {
            "crop": [float(value) for value in crop],
            "size": config.size,
            "fps": probe["fps"],
            "frames": probe["frames"],
            "fit": config.fit,
            "face": round(face * config.size / crop[3], 2),
            "audio": None,
        }
        # The frames cut here serve the stages that follow.
        clip.portrait = PortraitFrames(clip.source, facts, budget=clip.budget)
        video = clip.scratch / "video.mp4"
        with VideoWriter(
            video,
            size=(config.size, config.size),
            fps=fps,
            crf=config.crf,
            preset=config.preset,
            gop=config.gop,
        ) as writer:
            for frame in clip.portrait:
                writer.write(frame)
        files = {"video.mp4": video}
        if config.audio and probe["audio"]:
            sound = clip.scratch / "audio.m4a"
            facts["audio"] = save_sound(clip.path, sound, duration=probe["frames"] / fps)
            if facts["audio"]:
                files["audio.m4a"] = sound
        return Product(facts=facts, files=files)


def face_boxes(points: np.ndarray) -> np.ndarray:
    """Bounding boxes of face meshes.

    Args:
        points: Landmarks (T, N, 2 or 3) in pixels.

    Returns:
        (T, 4): left, top, right, bottom.
    """
    flat = points[..., :2]
    return np.concatenate([flat.min(axis=1), flat.max(axis=1)], axis=1)


def choose_crop(fit: Fit, boxes: np.ndarray, picture: tuple[int, int], margin: float) -> Crop:
    """Choose the part of the source that becomes the normal form.

    With ``fit = "face"``: the range of the face's boxes (but for the :data:`STRAY` share
    of frames at each limit), with room around it, as a square. If it reaches outside the
    picture it is shifted back in; if it is larger than the picture's shorter side, it gives
    up margin; only where the face's own range is larger still does it stay outside.

    Args:
        fit: See `FrameConfig.fit`.
        boxes: (T, 4) left, top, right, bottom of the face in source pixels.
        picture: Width and height of the source.
        margin: See `FrameConfig.margin`.

    Returns:
        x, y, w, h in whole source pixels; a square unless ``fit = "squash"``.
    """
    width, height = picture
    if fit == "squash":
        return 0, 0, width, height
    short = min(width, height)
    if fit == "centre":
        return (width - short) // 2, (height - short) // 2, short, short
    low = np.quantile(boxes[:, :2], STRAY, axis=0)
    high = np.quantile(boxes[:, 2:], 1 - STRAY, axis=0)
    reach = float((high - low).max())
    face = float(np.median(boxes[:, 3] - boxes[:, 1]))
    side = max(round(min(reach + 2 * margin * face, max(short, reach))), 1)
    x, y = (
        _shift_inside(round(float(centre) - side / 2 + 0.5), side, extent)
        for centre, extent in zip((low + high) / 2, picture, strict=True)
    )
    return x, y, side, side


def _shift_inside(start: int, side: int, extent: int) -> int:
    """Where a span of ``side`` begins so that it lies in [0, extent), or covers it."""
    inner, outer = sorted((0, extent - side))
    return min(max(start, inner), outer)


def _inside(boxes: np.ndarray, crop: Crop) -> bool:
    """Whether the face's centre lies in the crop in every second frame at least."""
    x, y, w, h = crop
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside = (centre >= (x, y)) & (centre <= (x + w - 1, y + h - 1))
    return bool(inside.all(axis=1).mean() >= 0.5)
