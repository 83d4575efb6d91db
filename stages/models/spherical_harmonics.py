"""Light as nine spherical-harmonic coefficients a colour, in DECA's basis, order and constants.

A surface of normal ``n`` and albedo 1 under the light ``L`` has the brightness
``sum_k L[k] * CONSTANTS[k] * polynomial_k(n)``. The constants are those of the real
spherical harmonics times the coefficients of the clamped cosine (Ramamoorthi and Hanrahan
2001, "An efficient representation for irradiance environment maps") as DECA has them: order
zero without its factor of pi.

Frame: right-handed, x to the picture's right, y up, z towards the viewer.
"""

from math import cos, pi, sin, sqrt
from typing import Any

import numpy as np
from numba import njit
from numba.extending import register_jitable
from numpy.typing import NDArray

COEFFICIENTS = 9
"""Number of coefficients a colour: one constant, three linear, five quadratic."""

_LINEAR = (2 * pi / 3) * sqrt(3 / (4 * pi))
_QUADRATIC = (pi / 4) * 3 * sqrt(5 / (12 * pi))
_ZONAL = (pi / 4) * 0.5 * sqrt(5 / (4 * pi))

CONSTANTS: NDArray[np.float64] = np.array(
    [1 / sqrt(4 * pi), *[_LINEAR] * 3, *[_QUADRATIC] * 3, _QUADRATIC / 2, _ZONAL]
)
"""Factor of each polynomial, float64 (9,)."""

_COSINE = np.array([1 / pi, *[2 * pi / 3] * 3, *[pi / 4] * 5])  # see `far_lamp`


@register_jitable
def polynomials(x: Any, y: Any, z: Any) -> tuple[Any, ...]:
    """The nine polynomials of a normal, for numbers (in compiled code) or for arrays alike."""
    one = 0 * x + 1
    return one, x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1


def basis(normals: NDArray[Any]) -> NDArray[Any]:
    """Basis values of normals, constants included.

    Args:
        normals: Floats (..., 3), not necessarily of length 1: interpolated normals are
            shaded as they are, as DECA does.

    Returns:
        (..., 9), of the normals' dtype.
    """
    x, y, z = np.moveaxis(normals, -1, 0)
    return np.stack(polynomials(x, y, z), axis=-1) * CONSTANTS.astype(normals.dtype)


def far_lamp(azimuth: float, elevation: float) -> NDArray[np.float64]:
    """Coefficients (9,) of a far lamp that gives 1 where it meets a surface squarely.

    By the addition theorem they are the harmonics' own values in its direction: our basis there,
    without the clamped cosine's coefficients, which it carries in its constants but for order zero.

    Args:
        azimuth: In radians: 0 before the face, above 0 to the picture's right.
        elevation: In radians, above 0 up.
    """
    direction = [sin(azimuth) * cos(elevation), sin(elevation), cos(azimuth) * cos(elevation)]
    return basis(np.array(direction)) / _COSINE


def shade(light: NDArray[Any], normals: NDArray[Any]) -> NDArray[np.float32]:
    """Shading (brightness at albedo 1) of normals under one light.

    Compiled rather than a matrix product: the sums' order, and so every bit of a render,
    must not depend on how many threads a BLAS happens to use.

    Args:
        light: Coefficients (9, 3): coefficient by colour.
        normals: Floats (..., 3).

    Returns:
        float32 (..., 3): red, green, blue; unclamped.
    """
    if light.shape != (COEFFICIENTS, 3):
        raise ValueError(
            f"light must have shape (9, 3): nine coefficients by RGB; not {light.shape}"
        )
    flat = np.ascontiguousarray(normals.reshape(-1, 3), dtype=np.float32)
    weights = light.astype(np.float64) * CONSTANTS[:, None]
    return _shade(weights, flat).reshape(normals.shape)


@register_jitable
def shade_one(weights: Any, x: Any, y: Any, z: Any) -> tuple[Any, Any, Any]:
    """Shading of one normal in three colours, float32, for compiled code.

    Args:
        weights: float64 (9, 3), coefficients times `CONSTANTS`.
        x: The normal; likewise y and z.
        y: See x.
        z: See x.
    """
    terms = polynomials(np.float64(x), np.float64(y), np.float64(z))
    red = green = blue = 0.0
    for k in range(COEFFICIENTS):
        red += weights[k, 0] * terms[k]
        green += weights[k, 1] * terms[k]
        blue += weights[k, 2] * terms[k]
    return np.float32(red), np.float32(green), np.float32(blue)


@njit(cache=True, nogil=True)
def _shade(weights: Any, normals: Any) -> Any:
    shading = np.empty(normals.shape, np.float32)
    for i in range(len(normals)):
        red, green, blue = shade_one(weights, normals[i, 0], normals[i, 1], normals[i, 2])
        shading[i, 0], shading[i, 1], shading[i, 2] = red, green, blue
    return shading
