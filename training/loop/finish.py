"""The end of a run: its last checkpoint becomes a model folder."""

import logging

import torch

from catalog.release import Release
from infra.errors import LimelightError
from training.checkpoint.folder import step_folder
from training.checkpoint.fragments import EMA, VALUE
from training.checkpoint.merge import load_parameters
from training.checkpoint.stored import StoredCheckpoint
from training.data import ReleaseClips
from training.loop.folder import RunFolder
from training.model.folder import save_model
from training.model.latents import LatentCodec
from training.model.lcvd import Lcvd
from training.recipe import Recipe

_LOG = logging.getLogger(__name__)


def write_model(
    folder: RunFolder, step: int, recipe: Recipe, release: Release, codec: LatentCodec
) -> None:
    """Write the averaged weights, or the last ones where the recipe keeps no average.

    They are read from the checkpoint, by one rank and tensor by tensor: nothing is communicated,
    and no GPU needs room for them.

    Args:
        folder: The run's; its model folder is made, or replaced.
        step: Of the checkpoint.
        recipe: The run's.
        release: That it was trained on.
        codec: That it was trained with.

    Raises:
        LakeError: The checkpoint is damaged, or the folder cannot be written.
    """
    stored = StoredCheckpoint(step_folder(folder.checkpoints, step), verify=False)
    with torch.device("meta"):
        network = Lcvd.build(recipe.model)
    network.to_empty(device="cpu")
    averaged = EMA in stored.kept()
    load_parameters(network, stored, EMA if averaged else VALUE)
    facts = {
        "step": step,
        "averaged": averaged,
        "release": {
            "name": release.name,
            "version": release.version,
            "seal": release.record["seal"],
        },
        "codec": codec.digest,
        "geometry": geometry_of(release),
    }
    save_model(folder.model, network, recipe, facts, replace=True)


def geometry_of(release: Release) -> dict[str, str] | None:
    """What heads were modelled by, and what of them was drawn, where the model has a choice.

    As the first clip tells whose facts can be read.

    None, and a warning, where no clip's can: a finished model is not lost for that.
    """
    clips = ReleaseClips(release)
    for clip in range(len(clips)):
        try:
            facts = clips.facts(clip, "geometry")
            return {key: facts[key] for key in ("model", "region") if key in facts}
        except (LimelightError, OSError, ValueError) as error:
            _LOG.warning("what %s says of its geometry is lost: %s", clips.keys[clip], error)
    _LOG.warning("no clip tells what heads were modelled by: the model's folder does not say it")
    return None
