"""Stage `geometry`: the face's shape, the light on it, and its shading render.

What finds them is a model behind `stages.models.face_geometry`, chosen by name. Light and pose
are told in the camera frame, right-handed, x right, y up, z towards the viewer, as DECA's are.
"""

from dataclasses import replace
from fractions import Fraction
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from stages.base import ModelTable, Product, Stage, StageConfig
from stages.clip import Clip
from stages.models.deca.regions import REGION_WEIGHTS, Region
from stages.models.deca.steady import Identity
from stages.models.face_geometry import FaceTrack, GeometryModel, shading_pictures
from stages.models.mesh_geometry import LightColour
from stages.models.offer import Offer
from stages.models.raster.renderer import RENDERERS, Renderer, RendererName, load_renderer
from stages.portrait import portrait_landmarks, write_film

GEOMETRY_MODELS = {
    "mediapipe_mesh": Offer("stages.models.mesh_geometry:MeshGeometry", ("face_mesh_topology",)),
    "deca": Offer(
        "stages.models.deca.model:Deca",
        weights=("deca", "flame"),
        packages=("torch", "timm", "safetensors"),
        slowest=1.0,
    ),
}
"""Geometry models by the name that a config gives."""


class MeshTable(ModelTable):
    """``[geometry.mediapipe_mesh]``: how the light is fitted to the skin."""

    light_colour: LightColour = "grey"
    """`grey`: the light's luminance in all colours. `rgb`: each colour by itself, the clip's
    mean skin colour taken out of them."""

    light_window: float = Field(0.4, ge=0, le=60)
    """Standard deviation in seconds of the symmetric window over which frames share their
    light; 0 fits each by itself."""

    light_ridge: float = Field(0.02, ge=1e-6, le=10)
    """Strength of the prior for even light; more gives flatter shading."""


class DecaTable(ModelTable):
    """``[geometry.deca]``: which part of FLAME is shown, and how steady a clip is made.

    The windows are standard deviations in seconds, symmetric in time. With all of them 0 and
    ``identity = "frame"``, each frame is found by itself, as in LCVD.
    """

    pace: ClassVar[frozenset[str]] = frozenset({"batch"})

    region: Region = "face"
    """Triangles that are rendered. `face`: those within FLAME's own mask of the face; `lcvd`:
    LCVD's list of them; `head`: all."""

    identity: Identity = "clip"
    """`clip`: one shape for all frames, the median of theirs; `frame`: each its own."""

    box_window: float = Field(0.1, ge=0, le=60)
    """Window over which the crop is smoothed that the encoder sees."""

    motion_window: float = Field(0.05, ge=0, le=60)
    """Window over which expression, rotations and camera are smoothed."""

    light_window: float = Field(0.4, ge=0, le=60)
    """Window over which the light is smoothed."""

    batch: int = Field(16, ge=1, le=256)
    """Frames that go through the networks at once: on a GPU, more are faster."""

    precision: Literal["float32", "float16", "bfloat16"] = "float32"
    """Of the encoder's convolutions; the shorter ones pay on a GPU."""


class GeometryConfig(StageConfig):
    """How the face's shape and light are found."""

    model: Literal["mediapipe_mesh", "deca"] = "mediapipe_mesh"
    """Where the shape comes from: `mediapipe_mesh` is the mesh of the landmarks, its light fitted
    to the skin; `deca` is FLAME's head, told with its light by DECA's network."""

    renderer: RendererName = "numba"
    """What draws the shape: `numba` on the processor, `cuda` the same on a GPU, `pytorch3d`
    PyTorch3D, where it is installed."""

    crf: int = Field(18, ge=0, le=51)
    """Constant rate factor of the shading film (x264; smaller is better and larger)."""

    mediapipe_mesh: MeshTable = MeshTable()

    deca: DecaTable = DecaTable()


def geometry_model(config: GeometryConfig) -> GeometryModel:
    """The configured model, loaded.

    Raises:
        UsageError: A package that it needs is missing.
        WeightsError: Its weights are missing, or are others.
    """
    model: GeometryModel = GEOMETRY_MODELS[config.model].load()(**dict(config.table()))
    return model


class Geometry(Stage[GeometryConfig]):
    """Shape, light and shading render of every frame.

    Makes ``params.npz``, the arrays of a `FaceGeometry` of T frames: ``light`` (T, 9, 3),
    ``size``, and the model's own parameters (see the model's class); and ``mesh.mp4``, LCVD's
    shading hint: the shape in grey 180/255 under the light, on black.
    """

    name = "geometry"
    needs = ("landmarks", "frame")
    Config = GeometryConfig

    _model: GeometryModel
    _renderer: Renderer

    def offers(self) -> tuple[Offer, ...]:
        """The configured model, and the configured renderer."""
        offer = GEOMETRY_MODELS[self.config.model]
        if self.config.model == "deca":
            masks = REGION_WEIGHTS[self.config.deca.region]
            offer = replace(offer, weights=offer.weights + masks)
        return offer, RENDERERS[self.config.renderer]

    def setup(self) -> None:
        """Load the configured model and renderer."""
        self._model = geometry_model(self.config)
        self._model.ready()
        self._renderer = load_renderer(self.config.renderer)

    def process(self, clip: Clip) -> Product:
        """Fit and render a clip; its frames are read once."""
        size = clip.portrait.size
        track = FaceTrack(
            portrait_landmarks(clip),
            clip.arrays("landmarks", "landmarks.npz")["valid"],
            float(Fraction(clip.facts["frame"]["fps"])),
            size,
        )
        geometry = self._model.fit(clip.portrait, track)
        pictures = shading_pictures(self._model, geometry, size, self._renderer)
        film = write_film(clip, "mesh.mp4", pictures, crf=self.config.crf)
        params = clip.scratch / "params.npz"
        # NumPy dates an archive's members 1980, so that equal arrays make equal bytes.
        np.savez(params, **geometry.arrays())  # type: ignore[arg-type]
        facts: dict[str, Any] = {"frames": len(geometry), "model": self.config.model}
        if self.config.model == "deca":
            facts["region"] = self.config.deca.region
        facts |= geometry.facts
        return Product(facts, {"params.npz": params, "mesh.mp4": film})
