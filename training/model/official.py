"""What training starts from: SVD-XT's UNet, the authors' trained files, or nothing."""

import torch
from torch import nn

from infra.errors import UsageError
from stages.models.nets import check_state, load_state
from training.model.adapters import Adapter
from training.model.lcvd import Lcvd, unet_config
from training.model.networks import UNetSpatioTemporalConditionModel
from training.model.start import start_plainly
from training.model.weights import LCVD_UNET, SVD_UNET, lcvd_adapter
from training.recipe.tables import ModelTable, Stream

_SVD_XT = ModelTable()
_SIZES = ("channels", "heads", "layers", "token_width", "latents")


def initial_model(table: ModelTable, seed: int = 0) -> Lcvd:
    """The network as training starts with it, float32, on the processor.

    Args:
        table: Of the recipe; its ``start`` says from which weights.
        seed: Of those weights that are random; torch's own generator is left as it was.

    Raises:
        UsageError: These weights do not go with the table's sizes.
        WeightsError: They are not here, or are others.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if table.start == "random":
            lcvd = Lcvd.build(table)
            start_plainly(lcvd)
            return lcvd
        _check_sizes(table)
        adapters: dict[Stream, nn.Module] = {
            stream: Adapter(table.channels[0]) for stream in table.adapters
        }
    if table.start == "lcvd":
        for stream, adapter in adapters.items():
            fill(adapter, lcvd_adapter(stream))
    with torch.device("meta"):  # the weights are as large as many a machine's free memory
        unet = UNetSpatioTemporalConditionModel(**unet_config(table))
    fill(unet, LCVD_UNET if table.start == "lcvd" else SVD_UNET)
    return Lcvd(unet, adapters).train()


def fill(net: nn.Module, weight: str) -> None:
    """Give a network a weight of the registry, strictly, as float32 to be trained.

    Raises:
        WeightsError: It is not here, or is of another architecture.
    """
    state = load_state(weight)
    check_state(net, state, name=weight)
    copies = {key: each.to(torch.float32, copy=True) for key, each in state.items()}
    net.load_state_dict(copies, assign=True)


def _check_sizes(table: ModelTable) -> None:
    """Make sure that a table has the sizes of the published weights."""
    wrong = [name for name in _SIZES if getattr(table, name) != getattr(_SVD_XT, name)]
    if wrong:
        told = ", ".join(f"{name} = {getattr(table, name)!r}" for name in wrong)
        asked = ", ".join(f"{name} = {getattr(_SVD_XT, name)!r}" for name in wrong)
        raise UsageError(
            f"model.start = {table.start!r} needs [model] with {asked}; it has {told}",
            hint='leave these as they are, or set model.start = "random"',
        )
