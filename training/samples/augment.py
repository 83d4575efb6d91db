"""What is changed of a sample, drawn once and done to all of its streams alike."""

from dataclasses import dataclass
from math import pi

import numpy as np

from training.recipe.tables import AugmentTable
from training.samples.colours import DrawnColours
from training.samples.quotient import DrawnLight
from training.samples.view import View

_AZIMUTH = pi * 80 / 180  # a light farther round leaves the face to its ambient part
_ELEVATION = (-pi * 15 / 180, pi * 60 / 180)
_STRENGTH = (0.3, 0.8)
_ENERGY = 0.2


@dataclass(frozen=True)
class Augmentation:
    """The changes to one sample; as it stands, none.

    Attributes:
        flip: Left and right change places.
        zoom: How much smaller the cut's side is than the pictures', as a share.
        across: Where the cut lies: 0 at the left edge, 1 at the right.
        down: 0 at the top, 1 at the bottom.
        colours: What colours all frames are in; None for their own.
        light: The light that the window's frames are put under; the reference keeps its own.
    """

    flip: bool = False
    zoom: float = 0.0
    across: float = 0.5
    down: float = 0.5
    colours: DrawnColours | None = None
    light: DrawnLight | None = None

    @classmethod
    def draw(cls, random: np.random.Generator, table: AugmentTable) -> "Augmentation":
        """Draw the changes to one sample.

        As many numbers are drawn whatever the table says: so two recipes that differ in one of
        its fields agree in the rest.
        """
        flip, zoom, across, down, lit = random.random(5).tolist()
        light = DrawnLight(
            azimuth=random.uniform(-_AZIMUTH, _AZIMUTH),
            elevation=random.uniform(*_ELEVATION),
            strength=random.uniform(*_STRENGTH),
            energy=float(np.exp(random.uniform(-_ENERGY, _ENERGY))),
        )
        colours = DrawnColours.draw(random, table.colour)
        return cls(
            flip=flip < table.flip,
            zoom=zoom * table.zoom,
            across=across,
            down=down,
            colours=colours if table.colour else None,
            light=light if lit < table.light else None,
        )

    def view(self, whole: int, size: int) -> View:
        """The cut out of pictures of side ``whole``, at ``size``; mirroring comes after it."""
        side = round(whole * (1 - self.zoom))
        room = whole - side
        return View(whole, round(room * self.across), round(room * self.down), side, size)
