"""A head of our own making in the shape of FLAME's files, for tests and benchmarks.

5,023 vertices and 9,976 triangles as FLAME has, of which it shares nothing else: an egg with a
nose, open at the neck, and two eyeballs, with smooth random spaces of shape and expression.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch

from stages.models.deca.coefficients import CODE
from stages.models.deca.encoder import ResnetEncoder
from tests.rule import generator, rule_state

VERTICES, FACES = 5023, 9976
_ROWS, _COLUMNS = 73, 60  # of the head: from under the crown to the neck, and around
_EYE_ROWS, _EYE_COLUMNS = 11, 29
_EYE_RADIUS = 0.013
_EYES = np.array([(0.032, 0.022, 0.069), (-0.032, 0.022, 0.069)])  # the left eye first, metres
_MOUTH = np.array((0.0, -0.045, 0.09))
_JOINTS = np.array([(0.0, -0.14, -0.01), (0.0, -0.08, -0.01), (0.0, -0.01, 0.0), *_EYES])


def _grid(rows: int, columns: int) -> np.ndarray:
    """Triangles between rings of vertices, outward where rings go down and, from above, run
    counter-clockwise."""
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b = index[:-1], index[1:]
    c, d = np.roll(b, -1, axis=1), np.roll(a, -1, axis=1)
    return np.concatenate(
        [np.stack([a, b, c], axis=-1).reshape(-1, 3), np.stack([a, c, d], axis=-1).reshape(-1, 3)]
    )


def _fan(tip: int, ring: np.ndarray) -> np.ndarray:
    return np.stack([np.full_like(ring, tip), ring, np.roll(ring, -1)], axis=-1)


def _bump(points: np.ndarray, centre: Sequence[float], spread: tuple[float, ...]) -> np.ndarray:
    return np.exp(-0.5 * (((points - centre) / spread) ** 2).sum(axis=1))


def _head() -> tuple[np.ndarray, np.ndarray]:
    """The crown's vertex and the rings below it; x right, y up, z out of the face."""
    polar = np.linspace(0, 1, _ROWS + 1)[1:, None] * 0.8 * np.pi
    around = np.arange(_COLUMNS) * 2 * np.pi / _COLUMNS
    radius = np.maximum(np.sin(polar), 0.62 * (polar > np.pi / 2))  # narrows to a neck only
    side, front = np.sin(around), np.cos(around)
    jaw = 1 - 0.15 * np.clip(-np.cos(polar), 0, None)  # narrower than the temples
    x = 0.078 * radius * jaw * side
    y = np.broadcast_to(
        0.125 * np.cos(polar) + 0.01 - 0.06 * np.clip(polar - 2.1, 0, None), x.shape
    )
    z = 0.095 * radius * front * (1 - 0.08 * np.clip(-np.cos(polar), 0, None))
    points = np.stack([x, y + 0 * x, z], axis=-1).reshape(-1, 3)
    points = np.concatenate([[(0.0, 0.136, 0.0)], points])
    towards = np.clip(points[:, 2] / 0.09, 0, 1)
    points[:, 2] += (
        towards
        * (
            0.024 * _bump(points[:, :2], (0, -0.012), (0.009, 0.008))  # the nose's tip
            + 0.010 * _bump(points[:, :2], (0, 0.008), (0.007, 0.015))  # and its bridge
            + 0.008 * _bump(points[:, :2], (0, 0.040), (0.040, 0.008))  # brows
            + 0.007 * _bump(points[:, :2], (0, -0.045), (0.020, 0.007))  # lips
            + 0.010 * _bump(points[:, :2], (0, -0.075), (0.020, 0.012))  # chin
            - 0.010 * sum(_bump(points[:, :2], eye[:2], (0.015, 0.010)) for eye in _EYES)
        )
    )
    rings = 1 + _grid(_ROWS, _COLUMNS)
    return points, np.concatenate([_fan(0, 1 + np.arange(_COLUMNS)), rings])


def _eye(centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    polar = np.linspace(0, np.pi, _EYE_ROWS + 2)[1:-1, None]
    around = np.arange(_EYE_COLUMNS) * 2 * np.pi / _EYE_COLUMNS
    x, z = np.sin(polar) * np.sin(around), np.sin(polar) * np.cos(around)
    rings = np.stack([x, np.cos(polar) + 0 * x, z], axis=-1).reshape(-1, 3)
    points = np.concatenate([rings, [(0.0, 1, 0), (0.0, -1, 0)]])
    first = np.arange(_EYE_COLUMNS)
    last = first + (_EYE_ROWS - 1) * _EYE_COLUMNS
    faces = [
        _grid(_EYE_ROWS, _EYE_COLUMNS),
        _fan(len(rings), first),
        _fan(len(rings) + 1, last)[:, ::-1],
    ]
    return centre + _EYE_RADIUS * points, np.concatenate(faces)


def _fields(points: np.ndarray, name: str, count: int) -> np.ndarray:
    """Smooth random displacements of length about 1, (V, 3, count)."""
    rng = generator(f"input:synthetic_flame {name}")
    waves = rng.normal(scale=15, size=(3, 24))  # radians a metre: no wave shorter than 0.2 m
    basis = np.cos(points @ waves + rng.uniform(0, 2 * np.pi, 24))
    mixed = basis @ rng.normal(scale=24**-0.5, size=(24, 3 * count))
    return mixed.reshape(len(points), 3, count)


@cache
def synthetic_flame() -> dict[str, np.ndarray]:
    """Arrays by their names in ``generic_model.pkl``; not to be changed by who calls."""
    parts = [_head(), *map(_eye, _EYES)]
    offsets = np.cumsum([0, *(len(points) for points, _ in parts)])
    template = np.concatenate([points for points, _ in parts])
    faces = np.concatenate([part + start for (_, part), start in zip(parts, offsets, strict=False)])
    spread = np.concatenate([np.full(300, 0.0015), np.full(100, 0.0008)]) / (
        1 + 0.1 * np.concatenate([np.arange(300), np.arange(100)])
    )
    mouth = _bump(template, _MOUTH, (0.04, 0.03, 0.05))[:, None, None]
    fields = _fields(template, "shape", 400) * spread
    fields[..., 300:] *= mouth
    # The jaw turns what is below the mouth and in front; the eyes turn their balls.
    jaw = 1 / (1 + np.exp((template[:, 1] - _MOUTH[1]) / 0.004 - template[:, 2] / 0.05))
    jaw *= template[:, 2] > 0
    neck = 1 / (1 + np.exp((_JOINTS[1, 1] - template[:, 1]) / 0.01))
    weights = np.stack([1 - neck, neck * (1 - jaw), neck * jaw, *np.zeros((2, VERTICES))], axis=1)
    for eye in (0, 1):
        weights[offsets[1 + eye] : offsets[2 + eye]] = np.eye(5)[3 + eye]
    # A joint is the mean of some vertices, as a regressor can tell.
    near = np.exp(-0.5 * (np.linalg.norm(template - _JOINTS[:, None], axis=2) / 0.03) ** 2)
    return {
        "f": faces.astype(np.uint32),
        "v_template": template,
        "shapedirs": fields,
        "posedirs": 0.002 * _fields(template, "pose", 36) * mouth,
        "J_regressor": near / near.sum(axis=1, keepdims=True),
        "kintree_table": np.array([(2**32 - 1, 0, 1, 1, 1), range(5)], np.uint32),
        "weights": weights,
    }


@cache
def synthetic_masks() -> dict[str, np.ndarray]:
    """Vertices by region, as ``FLAME_masks.pkl`` has them: the face without eyes and mouth."""
    template = synthetic_flame()["v_template"]
    head = np.arange(VERTICES) < 1 + _ROWS * _COLUMNS
    x, y, z = template.T
    face = head & (z > 0.01) & ((x / 0.072) ** 2 + ((y + 0.015) / 0.082) ** 2 < 1)
    for eye in _EYES:
        face &= ((x - eye[0]) / 0.012) ** 2 + ((y - eye[1]) / 0.006) ** 2 > 1
    face &= (x / 0.02) ** 2 + ((y - _MOUTH[1]) / 0.003) ** 2 > 1
    return {
        "face": np.flatnonzero(face),
        "left_eyeball": np.arange(*_ball(0)),
        "right_eyeball": np.arange(*_ball(1)),
    }


def _ball(eye: int) -> tuple[int, int]:
    size = 2 + _EYE_ROWS * _EYE_COLUMNS
    start = 1 + _ROWS * _COLUMNS + eye * size
    return start, start + size


@cache
def synthetic_face_region() -> dict[str, np.ndarray]:
    """Triangles of the face, as LCVD's ``FLAME_masks_face-id.pkl`` has them."""
    inside = np.isin(synthetic_flame()["f"], synthetic_masks()["face"]).all(axis=1)
    return {"face": np.flatnonzero(inside)}


@cache
def rule_deca() -> dict[str, torch.Tensor]:
    """Weights of the encoder under the goldens' rule; not to be changed by who calls."""
    state: dict[str, torch.Tensor] = rule_state(ResnetEncoder().state_dict())
    return state


def synthetic_deca() -> dict[str, torch.Tensor]:
    """Weights of the encoder by the goldens' rule, but for the last layer.

    That one is made such that any picture gives a head amid its crop, as large as the face in it
    and lit from above on the right; the picture only sways it a little.
    """
    state = dict(rule_deca())
    reach = torch.full((CODE,), 0.1)
    bias = torch.zeros(CODE)
    cam, light = CODE - 30, CODE - 27
    reach[cam:light] = 0.005
    bias[cam:light] = torch.tensor([10.5, 0, 0.02])
    bias[light:] = torch.tensor([2.0, 0.4, 0.3, 0.5, 0, 0, 0, 0, 0]).repeat_interleave(3)
    state["layers.2.weight"] = state["layers.2.weight"] * reach[:, None]
    state["layers.2.bias"] = bias
    return state


def synthetic_weights() -> dict[str, dict[str, torch.Tensor]]:
    """All that `stages.models.deca.model.Deca` loads, by the weights' names."""
    arrays = {
        "flame": synthetic_flame(),
        "flame_masks": synthetic_masks(),
        "lcvd_face_region": synthetic_face_region(),
    }
    tensors = {
        weight: {key: torch.from_numpy(each) for key, each in found.items()}
        for weight, found in arrays.items()
    }
    return {"deca": synthetic_deca(), **tensors}
