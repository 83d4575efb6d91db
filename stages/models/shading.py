"""LCVD's shape render: a grey surface under spherical-harmonic light, on black ground.

Two frames meet here, both right-handed. *Camera*: x right, y up, z towards the viewer;
normals for shading live there. *Image*: turned by 180 degrees about x, so that y points down
and smaller z is nearer; x and y are normalised, -1 and 1 at the picture's edges.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numba.extending import register_jitable
from numpy.typing import NDArray

from stages.models.rasteriser import (
    NOTHING,
    Fragments,
    ndc_to_pixels,
    nearest_faces,
    rasterise,
)
from stages.models.spherical_harmonics import CONSTANTS, shade, shade_one

ALBEDO = 180 / 255
"""Grey of the rendered surface, in all colours (LCVD)."""

FACING_LIMIT = 0.15
"""A pixel is drawn where the image-frame normal's z is below this (DECA's shape render)."""

SHORTEST_NORMAL = 1e-6
"""Summed cross products shorter than this are divided by it rather than by their length."""


def vertex_normals(vertices: NDArray[Any], faces: NDArray[Any]) -> NDArray[np.float32]:
    """Normals of a mesh's vertices: area-weighted means of the faces around, length 1.

    Args:
        vertices: (..., V, 3), right-handed; leading axes are frames.
        faces: (F, 3), counter-clockwise seen from outside.

    Returns:
        float32 (..., V, 3); 0 for a vertex of no face.
    """
    frames = np.ascontiguousarray(vertices.reshape(-1, *vertices.shape[-2:]), np.float64)
    normals = _vertex_normals(frames, np.ascontiguousarray(faces, np.int32))
    return normals.reshape(vertices.shape)


@njit(cache=True, nogil=True)
def _vertex_normals(frames: Any, faces: Any) -> Any:
    sums = np.zeros(frames.shape, np.float64)
    normals = np.empty(frames.shape, np.float32)
    for t in range(len(frames)):
        vertices = frames[t]
        for index in range(len(faces)):
            a, b, c = faces[index]
            ux, uy, uz = vertices[b] - vertices[a]
            vx, vy, vz = vertices[c] - vertices[a]
            for corner in (a, b, c):
                sums[t, corner, 0] += uy * vz - uz * vy
                sums[t, corner, 1] += uz * vx - ux * vz
                sums[t, corner, 2] += ux * vy - uy * vx
        for v in range(len(vertices)):
            x, y, z = sums[t, v]
            length = max(np.sqrt(x * x + y * y + z * z), SHORTEST_NORMAL)
            normals[t, v, 0], normals[t, v, 1], normals[t, v, 2] = (
                x / length,
                y / length,
                z / length,
            )
    return normals


def camera_frame(vertices: NDArray[Any]) -> NDArray[Any]:
    """Turn vertices (..., 3) from the image frame to the camera frame, or back."""
    return vertices * np.array([1, -1, -1], vertices.dtype)


@dataclass(frozen=True)
class Surface:
    """The visible part of a mesh.

    Attributes:
        size: (height, width) of the picture.
        pixels: int64 (P,): flat indices of the pixels that show it.
        normals: float32 (P, 3): camera-frame normals there, interpolated, not re-normalised.
    """

    size: tuple[int, int]
    pixels: NDArray[np.int64]
    normals: NDArray[np.float32]


def visible_surface(
    normals: NDArray[Any], vertices: NDArray[Any], faces: NDArray[Any], size: tuple[int, int]
) -> Surface:
    """Rasterise a mesh and interpolate its normals where it faces the viewer.

    Args:
        normals: (V, 3) vertex normals in the camera frame, by which it will be shaded.
        vertices: (V, 3) in the image frame. Which side faces the viewer is told by normals
            of these very numbers, so give z in the unit of x and y.
        faces: (F, 3), counter-clockwise seen from outside.
        size: (height, width) in pixels.
    """
    fragments = rasterise(ndc_to_pixels(vertices, size), faces, size)
    facing = vertex_normals(vertices, faces)[:, 2]
    pixels, interpolated = _interpolate(
        fragments.face.ravel(),
        fragments.barycentrics.reshape(-1, 3),
        np.ascontiguousarray(faces, np.int32),
        np.ascontiguousarray(normals, np.float32),
        np.ascontiguousarray(facing),
    )
    return Surface(size, pixels, interpolated)


@njit(cache=True, nogil=True)
def _interpolate(face: Any, barycentrics: Any, faces: Any, normals: Any, facing: Any) -> Any:
    pixels = np.empty(len(face), np.int64)
    values = np.empty((len(face), 3), np.float32)
    count = 0
    for pixel in range(len(face)):
        if face[pixel] == NOTHING:
            continue
        a, b, c = faces[face[pixel]]
        wa, wb, wc = barycentrics[pixel]
        if wa * facing[a] + wb * facing[b] + wc * facing[c] < FACING_LIMIT:
            pixels[count] = pixel
            for axis in range(3):
                values[count, axis] = (
                    wa * normals[a, axis] + wb * normals[b, axis] + wc * normals[c, axis]
                )
            count += 1
    return pixels[:count].copy(), values[:count].copy()


_DIRECTIONS = np.array([(-1, 1, 1), (1, 1, 1), (-1, -1, 1), (1, -1, 1), (0, 0, 1)], np.float32)
_INTENSITY = 1.7


def default_shading(normals: NDArray[np.float32]) -> NDArray[np.float32]:
    """Shading where no light is known: the mean of DECA's five white directional lights.

    Args:
        normals: float32 (P, 3), camera frame.

    Returns:
        float32 (P, 3), the same in all colours.
    """
    directions = _DIRECTIONS / np.linalg.norm(_DIRECTIONS, axis=1, keepdims=True)
    cosines = np.einsum("pa,da->pd", normals, directions).clip(0, 1)
    return np.repeat(_INTENSITY * cosines.mean(axis=1, keepdims=True), 3, axis=1)


def shape_colours(
    surface: Surface, light: NDArray[Any] | None, albedo: float = ALBEDO
) -> NDArray[np.float32]:
    """Albedo times shading at each pixel of a surface.

    Args:
        surface: What is visible.
        light: Coefficients (9, 3); None for `default_shading`.
        albedo: Grey of the surface.

    Returns:
        float32 (P, 3): 1 is white; brighter is possible, and so is below 0.
    """
    shading = default_shading(surface.normals) if light is None else shade(light, surface.normals)
    return np.float32(albedo) * shading


def to_bytes(colours: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Clamp colours to 0..1 and round them to 0..255 (no gamma: LCVD has none)."""
    return np.rint(colours.clip(0, 1) * np.float32(255)).astype(np.uint8)


def paint(surface: Surface, colours: NDArray[Any]) -> NDArray[Any]:
    """Put a surface's colours (P, 3) into a picture (H, W, 3) of the same dtype, else black."""
    picture = np.zeros((*surface.size, 3), colours.dtype)
    _scatter(picture.reshape(-1, 3), surface.pixels, colours)
    return picture


@njit(cache=True, nogil=True)
def _scatter(picture: Any, pixels: Any, colours: Any) -> None:
    # Compiled: NumPy's indexing takes four times as long for rows of three.
    for i in range(len(pixels)):
        for axis in range(3):
            picture[pixels[i], axis] = colours[i, axis]


def render_shape(
    surface: Surface, light: NDArray[Any] | None, albedo: float = ALBEDO
) -> NDArray[np.uint8]:
    """LCVD's shading picture, uint8 (H, W, 3): see `shape_colours`."""
    return paint(surface, to_bytes(shape_colours(surface, light, albedo)))


class ShapePainter:
    """Draws shading pictures of one size, one after the other.

    It gives what `render_shape` gives of a `visible_surface`, in half of the time: its memory is
    used again, and nothing is done for pixels far from the mesh.

    Args:
        size: (height, width) of the pictures in pixels.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self._size = size
        self._fragments = Fragments.nothing(size)

    def picture(
        self,
        normals: NDArray[Any],
        vertices: NDArray[Any],
        faces: NDArray[Any],
        light: NDArray[Any],
    ) -> NDArray[np.uint8]:
        """The shading picture, uint8 (H, W, 3), of a mesh as `visible_surface` takes it.

        Args:
            normals: (V, 3).
            vertices: (V, 3).
            faces: (F, 3).
            light: Coefficients (9, 3).
        """
        triangles = np.ascontiguousarray(faces, np.int32)
        fragments = self._fragments
        picture = np.zeros((*self._size, 3), np.uint8)
        _paint_shape(
            np.ascontiguousarray(ndc_to_pixels(vertices, self._size), np.float64),
            triangles,
            np.ascontiguousarray(normals, np.float32),
            np.ascontiguousarray(vertex_normals(vertices, faces)[:, 2]),
            np.asarray(light, np.float64) * CONSTANTS[:, None],
            np.float32(ALBEDO),
            fragments.face,
            fragments.barycentrics,
            fragments.depth,
            picture,
        )
        return picture


@njit(cache=True, nogil=True)
def _paint_shape(
    vertices: Any,
    faces: Any,
    normals: Any,
    facing: Any,
    weights: Any,
    albedo: Any,
    face: Any,
    barycentrics: Any,
    depth: Any,
    picture: Any,
) -> None:
    nearest_faces(vertices, faces, face, barycentrics, depth)
    height, width = face.shape
    top, left, bottom, right = height - 1.0, width - 1.0, 0.0, 0.0
    for x, y, _ in vertices:
        if np.isfinite(x) and np.isfinite(y):
            top, bottom = min(top, y - 1.0), max(bottom, y + 1.0)
            left, right = min(left, x - 1.0), max(right, x + 1.0)
    rows = range(int(max(top, 0.0)), int(min(bottom, height - 1.0)) + 1)
    columns = range(int(max(left, 0.0)), int(min(right, width - 1.0)) + 1)
    for row in rows:
        for column in columns:
            index = face[row, column]
            if index == NOTHING:
                continue
            face[row, column] = NOTHING  # for the next picture
            depth[row, column] = np.inf
            a, b, c = faces[index, 0], faces[index, 1], faces[index, 2]
            wa = barycentrics[row, column, 0]
            wb = barycentrics[row, column, 1]
            wc = barycentrics[row, column, 2]
            if wa * facing[a] + wb * facing[b] + wc * facing[c] < FACING_LIMIT:
                x = wa * normals[a, 0] + wb * normals[b, 0] + wc * normals[c, 0]
                y = wa * normals[a, 1] + wb * normals[b, 1] + wc * normals[c, 1]
                z = wa * normals[a, 2] + wb * normals[b, 2] + wc * normals[c, 2]
                red, green, blue = shade_one(weights, x, y, z)
                picture[row, column, 0] = _to_byte(albedo * red)
                picture[row, column, 1] = _to_byte(albedo * green)
                picture[row, column, 2] = _to_byte(albedo * blue)


@register_jitable
def _to_byte(colour: Any) -> Any:
    """What `to_bytes` makes of one float32."""
    return np.uint8(np.rint(min(max(colour, np.float32(0)), np.float32(1)) * np.float32(255)))
