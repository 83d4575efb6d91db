"""The end of a run: its last checkpoint becomes a model folder."""

import torch

from catalog.release import Release
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
        "geometry": ReleaseClips(release).facts(0, "geometry").get("model"),
    }
    save_model(folder.model, network, recipe, facts, replace=True)
