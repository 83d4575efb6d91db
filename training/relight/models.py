"""Which model relights: a run's, a folder's, or LCVD's own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from infra import weights
from infra.digests import digest_json
from infra.errors import UsageError
from stages.models.nets import best_device
from training.loop.folder import RunFolder
from training.model.folder import MODEL, RECIPE, LoadedModel, load_model
from training.model.official import initial_model
from training.model.weights import weights_of
from training.recipe import Recipe, load_recipe

OFFICIAL_NAME = "official"
"""Stands for the weights of LCVD's authors."""

OFFICIAL_FACTS: Mapping[str, Any] = {"geometry": {"model": "deca", "region": "lcvd"}}
"""Of that model: its shading came from DECA, drawn of a list of triangles of the authors'."""

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_model(lake: Path, wanted: str = "", device: torch.device | None = None) -> LoadedModel:
    """Load the model to relight with.

    Args:
        lake: Folder of the lake, whose runs are looked at; it need not be there.
        wanted: A model folder, a run's name, or ``official``; without, the model of the run that
            finished last, or else LCVD's own, where its weights are here.
        device: Where it shall run; `best_device` without.

    Raises:
        UsageError: There is no such model, or none at all.
        LakeError: A model folder is damaged.
        WeightsError: Weights that it needs are not here, or are others.
    """
    device = device or best_device()
    folder = find_model(lake, wanted)
    if folder is None:
        return official_model(device)
    return load_model(folder, device, precision(load_recipe(folder / RECIPE), device))


def find_model(lake: Path, wanted: str = "") -> Path | None:
    """The model folder that `choose_model` would load; None for LCVD's own.

    Raises:
        UsageError: There is no such model, or none at all.
    """
    if wanted == OFFICIAL_NAME:
        return None
    if wanted:
        return Path(wanted) if (Path(wanted) / MODEL).is_file() else _of_run(lake, wanted)
    if found := _finished(lake):
        return found[-1]
    if all(weights.standing(name).state == "present" for name in official_weights()):
        return None
    raise UsageError(
        f"no training run of {lake} has finished, and LCVD's own weights are not here",
        hint="train a model with `limelight train`, name one with --model FOLDER, or pull"
        f" LCVD's: limelight weights pull {' '.join(official_weights())}",
    )


def official_model(device: torch.device) -> LoadedModel:
    """LCVD as its authors trained it.

    Raises:
        WeightsError: The weights are not here, or are others.
    """
    recipe = _official_recipe()
    lcvd = initial_model(recipe.model).to(device, precision(recipe, device))
    digest = digest_json({name: weights.identity(name) for name in official_weights()})
    return LoadedModel(lcvd.eval().requires_grad_(False), recipe, OFFICIAL_FACTS, digest)


def precision(recipe: Recipe, device: torch.device) -> torch.dtype:
    """The number format that a model was trained in; float32 on a processor."""
    return torch.float32 if device.type == "cpu" else _DTYPES[recipe.engine.precision]


def _official_recipe() -> Recipe:
    return load_recipe("lcvd-paper", ["model.start=lcvd"])


def official_weights() -> tuple[str, ...]:
    """The registry's names of the files that LCVD's own model is made of."""
    return weights_of(_official_recipe().model, start=True)


def _finished(lake: Path) -> list[Path]:
    """Model folders of the lake's runs, the latest last."""
    models = [path.parent for path in (lake / "runs").glob(f"*/model/{MODEL}")]
    return sorted(models, key=lambda folder: ((folder / MODEL).stat().st_mtime, folder))


def _of_run(lake: Path, name: str) -> Path:
    folder = RunFolder(lake / "runs" / name).model
    if not (folder / MODEL).is_file():
        known = ", ".join(path.parent.name for path in _finished(lake)) or "none"
        raise UsageError(
            f"{name!r} is no model folder, and no run of {lake} that has a finished model"
            f" ({known})",
            hint=f"give a folder with a {MODEL}, a run's name, or `{OFFICIAL_NAME}`",
        )
    return folder
