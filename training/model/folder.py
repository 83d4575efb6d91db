"""The model folder: what training gives back and relighting takes.

::

    <folder>/
      unet/config.json, unet/diffusion_pytorch_model.safetensors   as diffusers has them
      adapters/<stream>.safetensors
      recipe.toml
      model.json          format, what is known of the training, sha256 of every file

``UNetSpatioTemporalConditionModel.from_pretrained(folder, subfolder="unet")`` opens the UNet.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from infra.digests import digest_file, digest_json
from infra.errors import LakeError
from stages.models.nets import check_state
from training.model.adapters import Adapter
from training.model.lcvd import Lcvd
from training.model.new_folder import files_in, new_folder
from training.model.weights import OFFICIAL
from training.recipe import Recipe, load_recipe, write_recipe

FORMAT = 1
"""Of the folder; raised when what reads the older ones would read this one wrongly."""

MODEL = "model.json"
RECIPE = "recipe.toml"
UNET = "unet/diffusion_pytorch_model.safetensors"
_CONFIG = "unet/config.json"

_COPY_AGAIN = "copy the folder again from where it was made"


class _Record(BaseModel):
    """What ``model.json`` says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    facts: dict[str, Any]
    files: dict[str, str]


@dataclass(frozen=True)
class LoadedModel:
    """A finished model.

    Attributes:
        lcvd: The network, for inference.
        recipe: What it was trained by.
        facts: What is known of its training, as they were saved.
        digest: Of all its files: what decides its results.
    """

    lcvd: Lcvd
    recipe: Recipe
    facts: Mapping[str, Any]
    digest: str


def save_model(
    folder: Path,
    lcvd: Lcvd,
    recipe: Recipe,
    facts: Mapping[str, Any],
    *,
    replace: bool = False,
) -> str:
    """Write a model folder: all of it, or nothing.

    Args:
        folder: Where.
        lcvd: The network.
        recipe: What it was trained by.
        facts: What else is worth knowing, as JSON: step, release, codec.
        replace: Put it in the place of a model folder that is there.

    Returns:
        The model's digest.

    Raises:
        UsageError: There is something already.
        LakeError: It cannot be written.
    """
    with new_folder(folder, known_by=MODEL, replace=replace) as new:
        lcvd.unet.save_config(new / "unet")
        _save(lcvd.unet, new / UNET)
        for stream, adapter in lcvd.adapters.items():
            _save(adapter, new / _adapter_file(stream))
        write_recipe(recipe, new / RECIPE)
        files = {path.relative_to(new).as_posix(): digest_file(path) for path in files_in(new)}
        record = _Record(format=FORMAT, facts=dict(facts), files=files)
        text = json.dumps(record.model_dump(), indent=2, allow_nan=False)
        (new / MODEL).write_text(text + "\n", encoding="utf-8")
    return digest_json(files)


def load_model(folder: Path, device: torch.device, dtype: torch.dtype) -> LoadedModel:
    """Read a model folder, for inference.

    Args:
        folder: What `save_model` wrote.
        device: Where the network shall run.
        dtype: Number format of its weights and arithmetic.

    Raises:
        LakeError: It is no model folder, or a file is missing or damaged.
        UsageError: Its recipe has keys that are not known here.
    """
    record = _record(folder)
    _check_file(folder, RECIPE, record)  # it tells which files there are
    recipe = load_recipe(folder / RECIPE)
    _check_files(folder, recipe, record)
    with torch.device("meta"):
        lcvd = Lcvd.build(recipe.model)
    _load(lcvd.unet, folder / UNET, device, dtype)
    for stream, adapter in lcvd.adapters.items():
        _load(adapter, folder / _adapter_file(stream), device, dtype)
    lcvd.eval().requires_grad_(False)
    return LoadedModel(lcvd, recipe, record.facts, digest_json(record.files))


def facts_and_digest(folder: Path) -> tuple[Mapping[str, Any], str]:
    """Of the `LoadedModel` that the folder holds, as it says of itself: nothing is loaded.

    Raises:
        LakeError: It is no model folder, or its record is damaged.
    """
    record = _record(folder)
    return record.facts, digest_json(record.files)


def save_official(folder: Path, lcvd: Lcvd) -> None:
    """Write a network as LCVD's authors do theirs: ``unet.pth``, ``light_embedder.pth`` and so on.

    Their code loads all of its adapters. One that this network lacks is written as a new one,
    which gives zeros.

    Args:
        folder: Where.
        lcvd: The network.

    Raises:
        UsageError: There is something already.
        LakeError: It cannot be written.
    """
    nets: dict[str, nn.Module] = {"unet": lcvd.unet}
    for stream, name in OFFICIAL.items():
        known = stream in lcvd.adapters
        nets[name] = lcvd.adapters[stream] if known else Adapter(lcvd.unet.conv_in.out_channels)
    with new_folder(folder, known_by="unet.pth") as new:
        for name, net in nets.items():
            torch.save(_state(net), new / f"{name}.pth")


def _adapter_file(stream: str) -> str:
    return f"adapters/{stream}.safetensors"


def _record(folder: Path) -> _Record:
    """What a model folder says of itself."""
    path = folder / MODEL
    try:
        record = _Record.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise LakeError(
            f"{folder} is no model folder: it has no {MODEL}",
            hint="name the folder `model` of a finished run",
        ) from error
    except ValidationError as error:
        raise LakeError(
            f"{path} is damaged, or of another version: {error.errors()[0]['msg']}",
            hint=_COPY_AGAIN,
        ) from error
    if record.format != FORMAT:
        raise LakeError(
            f"{folder} has format {record.format}; this version of Limelight reads {FORMAT}",
            hint="read it with the version that wrote it",
        )
    return record


def _check_files(folder: Path, recipe: Recipe, record: _Record) -> None:
    """Make sure that a record lists the files of such a model, no others, and that they are whole.

    One that is not listed would be read unseen.
    """
    wanted = {_CONFIG, UNET, RECIPE, *map(_adapter_file, recipe.model.adapters)}
    wrong = wanted ^ record.files.keys()
    if wrong:
        raise LakeError(
            f"{folder / MODEL} is damaged: it should list {', '.join(sorted(wanted))}, and"
            f" lists {', '.join(sorted(record.files)) or 'nothing'}",
            hint=_COPY_AGAIN,
        )
    for name in sorted(wanted - {RECIPE}):
        _check_file(folder, name, record)


def _check_file(folder: Path, name: str, record: _Record) -> None:
    path, digest = folder / name, record.files.get(name)
    if digest is None:
        raise LakeError(f"{folder / MODEL} is damaged: it does not list {name}", hint=_COPY_AGAIN)
    try:
        found = digest_file(path)
    except OSError as error:
        raise LakeError(
            f"cannot read {path}, which its model folder should hold: {error.strerror}",
            hint=_COPY_AGAIN,
        ) from error
    if found != digest:
        raise LakeError(
            f"{path} is damaged: its sha256 is {found}, not {digest}",
            hint=_COPY_AGAIN,
        )


def _state(net: nn.Module) -> dict[str, torch.Tensor]:
    return {key: each.detach().cpu().contiguous() for key, each in net.state_dict().items()}


def _save(net: nn.Module, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    save_file(_state(net), path, metadata={"format": "pt"})


def _load(net: nn.Module, path: Path, device: torch.device, dtype: torch.dtype) -> None:
    """Fill a network that lies on ``meta``."""
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise LakeError(f"cannot read {path}: {error}", hint=_COPY_AGAIN) from error
    check_state(net, state, name=str(path))
    # Copied: tensors in the file's own memory change if somebody writes into it.
    copies = {key: each.to(device, dtype, copy=True) for key, each in state.items()}
    net.load_state_dict(copies, assign=True)
