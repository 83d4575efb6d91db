"""Small films of a real face for tests of metrics, and ways to spoil them."""

from functools import cache

import cv2
import numpy as np
from skimage.data import astronaut

from evaluation.metrics.base import CaseFeatures, Extractor, Features

SIDE, FRAMES = 160, 6


@cache
def pan(frames: int = FRAMES) -> np.ndarray:
    """The camera moves over a portrait, by two pixels of the picture a frame: (n, S, S, 3)."""
    picture = astronaut()
    squares = [picture[:320, 60 + 2 * t : 380 + 2 * t] for t in range(frames)]
    film = np.stack([cv2.resize(s, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for s in squares])
    film.flags.writeable = False
    return film


def side_light(film: np.ndarray, strength: float) -> np.ndarray:
    """Light from the picture's right (below 0: its left), about the face."""
    ramp = 1 + strength * np.linspace(-1, 1, film.shape[2])[:, None]
    return (film * 0.7 * ramp).clip(0, 255).astype(np.uint8)


def noisy(film: np.ndarray, deviation: float) -> np.ndarray:
    """With other noise in every frame."""
    noise = np.random.default_rng(5).normal(0, deviation, film.shape)
    return (film + noise).round().clip(0, 255).astype(np.uint8)


def blurred(film: np.ndarray, sigma: float) -> np.ndarray:
    """Every frame by a Gaussian; 0 leaves it."""
    return np.stack([cv2.GaussianBlur(f, (0, 0), sigma) for f in film]) if sigma else film


def features(extractor: Extractor, film: np.ndarray, feed: int = 16) -> Features:
    """What an extractor finds in a film that comes ``feed`` frames at a time."""
    film_pass = extractor.start(len(film), film.shape[1])
    for start in range(0, len(film), feed):
        # Not to be written to, and gone afterwards: as whoever decodes hands it out.
        batch = film[start : start + feed].copy()
        batch.flags.writeable = False
        film_pass.add(batch)
        batch.flags.writeable = True
        batch[:] = 0
    return film_pass.finish()


def case(
    extractor: Extractor, light: np.ndarray | None = None, **films: np.ndarray | Features
) -> CaseFeatures:
    """A case of films, or of their features, by role."""
    found = {
        role: {extractor.name: features(extractor, film) if isinstance(film, np.ndarray) else film}
        for role, film in films.items()
    }
    return CaseFeatures(found, light)  # type: ignore[arg-type]
