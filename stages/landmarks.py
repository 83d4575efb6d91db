"""The landmarks stage: one face, followed through the clip."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from stages.base import Product, Rejected, Stage, StageConfig
from stages.clip import Clip
from stages.face_track import MAX_GAP, REDETECT, every_frame
from stages.models.faces import FACE_MODELS, FaceModel, FaceModelName
from stages.models.offer import Offer
from stages.tracking import FaceFollower, Followed, Track


class LandmarksConfig(StageConfig):
    """How the face is found, followed, and judged. Sizes are of the mesh's box, longer side."""

    model: FaceModelName = "mediapipe"
    """The nets: ``mediapipe`` (detector, 468-point mesh, iris), or ``face_landmarker`` (the
    bundle of MediaPipe Tasks; tells blendshapes and the face transform too)."""

    multi_face: Literal["largest", "reject"] = "largest"
    """Several faces of comparable size: take the largest and most lasting, or reject."""

    max_crowded: float = Field(0.1, ge=0, le=1)
    """With ``multi_face = "reject"``: share of the frames that may hold several faces, 0..1."""

    min_face: float = Field(32.0, ge=0)
    """Smallest face (median over the clip) that is accepted, in source pixels."""

    min_score: float = Field(0.9, gt=0, lt=1)
    """Face flag of the mesh net below which there is no face, 0..1."""

    max_missing: float = Field(0.1, ge=0, le=1)
    """Share of the frames in which the face may be missing, 0..1."""

    max_gap: int = Field(MAX_GAP, ge=0)
    """Frames in a row in which it may be missing; they are interpolated, and marked so."""

    max_step: float = Field(0.5, gt=0)
    """How far the face may move from one frame to the next, in its own size; more is a cut."""

    redetect: int = Field(REDETECT, ge=1)
    """Frames from one look of the detector to the next, while nothing is lost."""

    smoothing: float = Field(0.05, ge=0, le=1)
    """Smoothing window (standard deviation) in seconds; 0 leaves the landmarks raw."""


class Landmarks(Stage[LandmarksConfig]):
    """478 landmarks of one face in every frame.

    Makes ``landmarks.npz``:

    - ``points`` (T, 478, 3) float32: x, y in upright source pixels (0 is the centre of the
      first pixel), z in the same unit, smaller towards the camera;
    - ``score`` (T,) float32: the face flag, 0..1; 0 where nothing was seen;
    - ``valid`` (T,) bool: False where the points are interpolated;
    - ``box`` (T, 4) float32: left, top, width and height of the mesh in pixels;
    - with ``face_landmarker``, ``blendshapes`` (T, 52) float32 (0..1, in the order of
      `stages.models.face_landmarker.blendshapes.BLENDSHAPES`) and ``transform`` (T, 4, 4)
      float32 (`stages.models.face_landmarker.transform`), read from ``points`` frame by frame:
      they are as smooth as these, and there where these are interpolated.
    """

    name = "landmarks"
    needs = ("probe",)
    after = ("quality",)
    Config: ClassVar[type[StageConfig]] = LandmarksConfig

    _model: FaceModel

    def offers(self) -> tuple[Offer, ...]:
        """The configured model."""
        return (FACE_MODELS[self.config.model],)

    def setup(self) -> None:
        """Load the nets."""
        (offer,) = self.offers()
        self._model = offer.load()()

    def process(self, clip: Clip) -> Product:
        """Follow the clip's face."""
        config = self.config
        follower = FaceFollower(
            self._model,
            min_score=config.min_score,
            interval=config.redetect,
            patience=config.max_gap + config.redetect,
        )
        followed = follower.follow(clip.source)
        facts = _facts(followed)
        objection = _objection(followed, facts, config)
        if objection:
            raise Rejected(objection, score=facts["coverage"], facts=facts)
        arrays = self._arrays(followed, clip.facts["probe"])
        path = clip.scratch / "landmarks.npz"
        # NumPy dates an archive's members 1980, so that equal arrays make equal bytes.
        np.savez(path, **arrays)  # type: ignore[arg-type]
        return Product(facts, {path.name: path}, score=facts["coverage"])

    def _arrays(self, followed: Followed, probe: Mapping[str, Any]) -> dict[str, np.ndarray]:
        track = followed.tracks[0]
        if probe["image_repeat"]:
            # Each look starts from the mesh of the look before, and so differs from it even
            # where the picture does not: a still would tremble.
            still = np.median(every_frame(track, followed.frames), axis=0)
            points = np.repeat(still[None], followed.frames, axis=0)
        else:
            sigma = self.config.smoothing * float(Fraction(probe["fps"]))
            points = every_frame(track, followed.frames, sigma)
        score = np.zeros(followed.frames, np.float32)
        score[track.frames] = track.scores
        low, high = points[..., :2].min(axis=1), points[..., :2].max(axis=1)
        return {
            "points": points,
            "score": score,
            "valid": track.seen(followed.frames),
            "box": np.concatenate([low, high - low], axis=1),
            **self._model.describe(points, width=followed.width, height=followed.height),
        }


def _facts(followed: Followed) -> dict[str, Any]:
    """What was seen, in numbers."""
    facts: dict[str, Any] = {
        "coverage": 0.0,
        "faces": followed.faces,
        "detected": followed.detected,
        "crowded": round(followed.crowded, 4),
    }
    if not followed.tracks:
        return facts
    track = followed.tracks[0]
    step, step_frame = _largest_step(track)
    return facts | {
        "coverage": round(len(track.frames) / followed.frames, 4),
        "missing": followed.frames - len(track.frames),
        "gap": _longest_gap(track, followed.frames),
        "size": round(float(np.median(track.sizes)), 1),
        "step": round(step, 4),
        "step_frame": step_frame,
    }


def _objection(followed: Followed, facts: Mapping[str, Any], config: LandmarksConfig) -> str | None:
    """Why this is not one face throughout, in words; None if it is."""
    total = followed.frames
    if not followed.tracks:
        seen = f" ({followed.detected} too small or unclear)" if followed.detected else ""
        return f"no face found in any of {total} frames{seen}"
    if config.multi_face == "reject" and followed.crowded > config.max_crowded:
        return (
            f"{followed.faces} faces, several at once in {followed.crowded:.0%} of {total}"
            f" frames, allowed {config.max_crowded:.0%}"
        )
    missing, gap = facts["missing"], facts["gap"]
    if missing > config.max_missing * total or gap > config.max_gap:
        cut = _handover(followed, config.max_missing)
        if cut is not None:
            return f"another face takes over at frame {cut}: a cut"
    if missing > config.max_missing * total:
        crowd = f"; up to {followed.detected} at once, small or unclear"
        return (
            f"no face in {missing} of {total} frames ({missing / total:.0%}), allowed"
            f" {config.max_missing:.0%}{crowd if followed.detected > 1 else ''}"
        )
    if gap > config.max_gap:
        return f"no face for {gap} frames in a row, allowed {config.max_gap}"
    if facts["size"] < config.min_face:
        return f"the face is {facts['size']:.0f} pixels large, at least {config.min_face:g} asked"
    if facts["step"] > config.max_step:
        return (
            f"the face jumps by {facts['step']:.2f} of its size at frame {facts['step_frame']},"
            f" allowed {config.max_step:g}: a cut"
        )
    return None


def _longest_gap(track: Track, total: int) -> int:
    edges = np.array([-1, *track.frames, total])
    return int(np.diff(edges).max()) - 1


def _largest_step(track: Track) -> tuple[float, int]:
    """The largest movement a frame, in faces, and the frame at which it ends."""
    if len(track.frames) < 2:
        return 0.0, track.frames[0]
    centres, sizes = np.stack(track.centres), np.array(track.sizes)
    steps = np.linalg.norm(np.diff(centres, axis=0), axis=1) / sizes[1:] / np.diff(track.frames)
    most = int(steps.argmax())
    return float(steps[most]), track.frames[most + 1]


def _handover(followed: Followed, max_missing: float) -> int | None:
    """Frame at which another face takes over, if together they would fill the clip."""
    subject, *others = (set(track.frames) for track in followed.tracks)
    missing = followed.frames - len(subject.union(*others))
    if not others or missing > max_missing * followed.frames:
        return None
    first, last = min(subject), max(subject)
    return first if first >= followed.frames - 1 - last else last + 1
