"""Lights as people name them, turned into spherical-harmonic coefficients for every frame.

A light is nine coefficients a colour in DECA's order and constants
(`stages.models.spherical_harmonics`). Light from a picture and coefficients that are given are
taken as they are. Directions and presets say only where light comes from: they are scaled so that
the reference's face keeps its mean brightness, and its colour, and with them the picture its
exposure (`exposed`).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import radians
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.errors import UsageError
from stages.models.light import LUMINANCE
from stages.models.shading import ALBEDO
from stages.models.spherical_harmonics import COEFFICIENTS, CONSTANTS, far_lamp, shade

LightLike = str | Path | NDArray[Any] | Sequence[Any] | Mapping[str, Any]
"""A light: a name, a file, coefficients, or several of them over time (see `lights`)."""

Keyframes = dict[float, NDArray[np.float64]]
"""Lights (9, 3) by the frame that each falls on; rising, not all of them whole numbers."""

ORBIT_TILT = 60.0
"""Degrees between the camera's axis and the lamp that goes around it."""

_ORBIT_STOPS = (
    72  # keyframes of an orbit: between two, 5 degrees apart, a line is as good as an arc
)
_MOST_GAIN = 4.0  # a light from behind leaves a face dark, rather than being made blinding
_HIGHLIGHTS = 0.97  # share of a face that must not be brighter than white
_TINY = 1e-6
_WHITE = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Lamp:
    """A distant light.

    Attributes:
        azimuth: Degrees; 0 is the camera, 90 the picture's right, -90 its left, 180 behind.
        elevation: Degrees; 90 is above.
        strength: Beside the other lamps of the same light.
        colour: RGB.
    """

    azimuth: float
    elevation: float
    strength: float = 1.0
    colour: tuple[float, float, float] = _WHITE

    def coefficients(self) -> NDArray[np.float64]:
        """Its light, (9, 3)."""
        values = far_lamp(radians(self.azimuth), radians(self.elevation))
        return np.outer(values, self.colour) * self.strength


@dataclass(frozen=True)
class Setup:
    """Lamps, and even light that fills their shadows.

    Attributes:
        lamps: They add up.
        fill: Even light, as a share of what a lamp of strength 1 gives where it meets the skin
            squarely.
        colour: Of the even light, RGB.
    """

    lamps: tuple[Lamp, ...]
    fill: float = 0.2
    colour: tuple[float, float, float] = _WHITE

    def coefficients(self) -> NDArray[np.float64]:
        """Its light, (9, 3)."""
        total = np.zeros((COEFFICIENTS, 3))
        total[0] = np.array(self.colour) * self.fill / CONSTANTS[0]
        return total + sum(lamp.coefficients() for lamp in self.lamps)


DIRECTIONS = {
    "front": (0.0, 0.0),
    "left": (-65.0, 0.0),
    "right": (65.0, 0.0),
    "top": (0.0, 60.0),
    "bottom": (0.0, -55.0),
    "top-left": (-50.0, 40.0),
    "top-right": (50.0, 40.0),
    "bottom-left": (-50.0, -40.0),
    "bottom-right": (50.0, -40.0),
}
"""Azimuth and elevation by name; sides are the picture's."""

PRESETS = {
    "flat": Setup((), fill=1.0),
    "soft": Setup((Lamp(0, 40, 0.6), Lamp(-50, 15, 0.3), Lamp(50, 15, 0.3)), fill=0.6),
    "butterfly": Setup((Lamp(0, 50),), fill=0.25),
    "rembrandt": Setup((Lamp(-50, 40),), fill=0.12),
    "split": Setup((Lamp(-90, 5),), fill=0.05),
    "rim": Setup((Lamp(-120, 20, 1.2), Lamp(120, 20, 1.2)), fill=0.12),
    "underlight": Setup((Lamp(0, -65),), fill=0.08),
    "sunset": Setup((Lamp(70, 10, 1.0, (1.3, 0.9, 0.5)),), fill=0.3, colour=(0.75, 0.9, 1.25)),
    "neon": Setup(
        (Lamp(-75, 5, 1.0, (1.3, 0.5, 1.1)), Lamp(75, 5, 1.0, (0.4, 0.9, 1.4))), fill=0.15
    ),
}
"""Lights by name: `flat` even; `soft` large windows in front; `butterfly` high in front;
`rembrandt` high from the left, a photographer's classic; `split` one half of the face; `rim` from
behind on both sides; `underlight` from below; `sunset` low and warm from the right, the sky's blue
in the shadows; `neon` magenta from the left, cyan from the right."""


@dataclass(frozen=True)
class Scene:
    """What a light's description is seen against.

    Attributes:
        frames: Of the clip, 1 or more.
        fps: Frames a second.
        own: (9, 3), the reference's own light.
        normals: float32 (P, 3), camera frame: of the reference's face, a pixel each.
        fit: Finds the light (9, 3) on the face of a picture.
    """

    frames: int
    fps: float
    own: NDArray[np.float32]
    normals: NDArray[np.float32]
    fit: Callable[[Path], NDArray[np.float32]]


def lights(wanted: LightLike, scene: Scene, intensity: float = 1.0) -> NDArray[np.float32]:
    """The light on every frame of a clip.

    Args:
        wanted: One of

            - ``"reference"``: the reference's own;
            - a preset's name (`PRESETS`), a direction's (`DIRECTIONS`), or
              ``"azimuth,elevation"`` in degrees, such as ``"-45,30"`` (see `Lamp`);
            - ``"orbit"``: a lamp that goes once around the camera's axis over the clip;
            - a picture's path: the light on the face in it;
            - nine coefficients, for all colours or, (9, 3), for each;
            - several of these over time: a list, whose lights are spread evenly over the clip
              (one a frame, where there are as many), or a list of keyframes ``{"frame" or
              "seconds": n, "light": any of the above}``; between two, light is interpolated
              linearly, and held before the first and after the last;
            - the path of a JSON file with any of these, or the record of a film that was relit,
              for the light that it was given.
        scene: The clip, and the reference.
        intensity: Factor on all of it.

    Returns:
        float32 (frames, 9, 3).

    Raises:
        UsageError: It is none of these; what is allowed is named.
    """
    return between(keyframes(wanted, scene, intensity), scene.frames)


def keyframes(wanted: LightLike, scene: Scene, intensity: float = 1.0) -> Keyframes:
    """The light at those frames that a light, as for `lights`, is told for; the first is earliest.

    Raises:
        UsageError: It is no light; what is allowed is named.
    """
    if not (np.isfinite(intensity) and intensity > 0):
        raise UsageError(f"--intensity {intensity:g}: a factor above 0 is needed")
    stops: Keyframes = {}
    for at, light in _stops(wanted, scene):
        if at not in stops:  # of several on one frame, the first
            stops[at] = intensity * _single(light, scene)
    return {at: stops[at] for at in sorted(stops)}


def between(stops: Keyframes, frames: int) -> NDArray[np.float32]:
    """Keyframes, interpolated linearly: float32 (frames, 9, 3)."""
    flat = np.stack([light.ravel() for light in stops.values()])
    times, wanted = list(stops), np.arange(frames)
    path = np.stack([np.interp(wanted, times, numbers) for numbers in flat.T], axis=1)
    return path.reshape(frames, COEFFICIENTS, 3).astype(np.float32)


def light_files(wanted: LightLike) -> set[Path]:
    """Paths that a light names, and those that JSON files among them name.

    A name such as ``left`` counts as a path, too: there may be a file of that name.

    Raises:
        UsageError: A JSON file cannot be read.
    """
    found: set[Path] = set()
    _add_files(wanted, found)
    return found


def _add_files(wanted: Any, found: set[Path]) -> None:
    if isinstance(wanted, str | Path):
        path = Path(wanted)
        if path not in found:
            found.add(path)
            if _is_json(wanted):
                _add_files(_read_json(path), found)
    elif isinstance(wanted, Mapping) and not _is_record(wanted):
        _add_files(wanted.get("light"), found)
    elif isinstance(wanted, list | tuple):
        for each in wanted:
            _add_files(each, found)


def exposed(
    light: NDArray[Any], own: NDArray[Any], normals: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Give a light the exposure of another one: a face's mean luminance, and its tint.

    It stays darker where nearly all of a lit side would be whiter than white else. Colours of the
    light come on top of the tint, which is a matter of skin and camera.

    Args:
        light: (9, 3).
        own: (9, 3), what the face is lit by.
        normals: float32 (P, 3), of the face.
    """
    if not len(normals):
        return np.asarray(light, np.float64)
    ours, theirs = (shade(np.asarray(each), normals).clip(0) for each in (own, light))
    wanted = ours.mean(axis=0, dtype=np.float64)
    tint = wanted / max(wanted @ LUMINANCE, _TINY)
    theirs = theirs * tint
    gain = (wanted @ LUMINANCE) / max(theirs.mean(axis=0) @ LUMINANCE, _TINY)
    white = max(1 / ALBEDO, _bright(ours))
    return light * tint * min(gain, white / max(_bright(theirs), _TINY), _MOST_GAIN)


def _bright(shading: NDArray[Any]) -> float:
    """The luminance that all but the highlights stay below."""
    return float(np.quantile(shading @ LUMINANCE, _HIGHLIGHTS))


def _stops(wanted: Any, scene: Scene) -> list[tuple[float, Any]]:
    """Frames, and the light at each; those between are interpolated."""
    if isinstance(wanted, np.ndarray):
        wanted = wanted.tolist()
    wanted = _read(wanted)
    if isinstance(wanted, str) and wanted == "orbit":
        wanted = _orbit()
    if _numbers(wanted) is not None or not isinstance(wanted, list | tuple):
        return [(0.0, wanted)]
    if not wanted:
        raise UsageError("the list of lights is empty: one or more are needed")
    if all(isinstance(each, Mapping) for each in wanted):
        return [_keyframe(each, scene) for each in wanted]
    return [*zip(np.linspace(0, scene.frames - 1, len(wanted)).tolist(), wanted, strict=True)]


def _orbit() -> list[Setup]:
    """Clockwise as the camera sees it, from above."""
    tilt = np.radians(ORBIT_TILT)
    setups = []
    for hour in np.linspace(0, 2 * np.pi, _ORBIT_STOPS + 1):
        x, y, z = np.sin(tilt) * np.sin(hour), np.sin(tilt) * np.cos(hour), np.cos(tilt)
        lamp = Lamp(float(np.degrees(np.arctan2(x, z))), float(np.degrees(np.arcsin(y))))
        setups.append(Setup((lamp,)))
    return setups


def _keyframe(entry: Mapping[str, Any], scene: Scene) -> tuple[float, Any]:
    if set(entry) not in ({"frame", "light"}, {"seconds", "light"}):
        raise UsageError(
            f"a keyframe of a light has the keys {sorted(entry)}",
            hint='it looks like {"seconds": 1.5, "light": "left"}, or has "frame" for "seconds"',
        )
    at = entry.get("frame", entry.get("seconds"))
    if not isinstance(at, int | float) or not np.isfinite(at) or at < 0:
        raise UsageError(f"a light's keyframe at {at!r}: a number of 0 or more is needed")
    return (at if "frame" in entry else at * scene.fps), entry["light"]


def _single(wanted: Any, scene: Scene) -> NDArray[np.float64]:
    """One light, (9, 3)."""
    if isinstance(wanted, Setup):
        return exposed(wanted.coefficients(), scene.own, scene.normals)
    wanted = _read(wanted)
    numbers = _numbers(wanted)
    if numbers is not None:
        return numbers
    if not isinstance(wanted, str | Path):
        raise UsageError(f"{_short(wanted)} is no light", hint=allowed_lights())
    if str(wanted) == "reference":
        return scene.own.astype(np.float64)
    setup = PRESETS.get(str(wanted)) or _directed(str(wanted))
    if setup is not None:
        return exposed(setup.coefficients(), scene.own, scene.normals)
    if not Path(wanted).is_file():
        raise UsageError(f"{str(wanted)!r} is no light, and no file", hint=allowed_lights())
    return scene.fit(Path(wanted)).astype(np.float64)


def _directed(name: str) -> Setup | None:
    """The lamp in a direction by name, or by "azimuth,elevation"; None for anything else."""
    if name in DIRECTIONS:
        return Setup((Lamp(*DIRECTIONS[name]),))
    try:
        azimuth, elevation = map(float, name.split(","))
    except ValueError:
        return None
    if not (abs(azimuth) <= 180 and abs(elevation) <= 90):
        raise UsageError(
            f"light from azimuth {azimuth:g}, elevation {elevation:g}: -180 to 180 and -90 to 90"
            " degrees are allowed"
        )
    return Setup((Lamp(azimuth, elevation),))


def _numbers(wanted: Any) -> NDArray[np.float64] | None:
    """The light (9, 3) that is told in numbers, (9,) or (9, 3); None where it is not."""
    if isinstance(wanted, str | Path | Mapping | Setup):
        return None
    try:
        array = np.array(wanted, np.float64)
    except (ValueError, TypeError):
        return None
    if array.shape not in ((COEFFICIENTS,), (COEFFICIENTS, 3)):
        return None
    if not np.isfinite(array).all():
        raise UsageError("a light's coefficients must be finite numbers")
    return array if array.ndim == 2 else np.repeat(array[:, None], 3, axis=1)


def _read(wanted: Any) -> Any:
    """What a JSON file holds, and of a record its light; all else as it is."""
    if _is_json(wanted):
        wanted = _read_json(Path(wanted))
    return wanted["coefficients"] if _is_record(wanted) else wanted


def _is_record(wanted: Any) -> bool:
    return isinstance(wanted, Mapping) and "coefficients" in wanted


def _is_json(wanted: Any) -> bool:
    return isinstance(wanted, str | Path) and Path(wanted).suffix.lower() == ".json"


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"the light {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"the light {path} is no JSON: {error}") from error


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def allowed_lights() -> str:
    """What a light may be, in one sentence."""
    return (
        f"a light is a picture with a face, a preset ({', '.join(PRESETS)}), a direction"
        f' ({", ".join(DIRECTIONS)}, or "azimuth,elevation" in degrees), `orbit`, `reference`, or a'
        " JSON file with nine coefficients (or nine by three), or with a list of lights, or a relit"
        " film's record"
    )
