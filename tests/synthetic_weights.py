"""Files like those that publishers give out, made of synthetic weights: no model, but a whole one.

Their form is that of the originals (pickles, archives of torch), so that they go the same way:
registry, pin, conversion, worker.
"""

import pickle
from pathlib import Path

import torch
from scipy.sparse import csc_matrix

from stages.models.fastervqa.network import FasterVQANet
from stages.models.u2net.network import NETWORKS
from tests.rule import rule_state
from tests.synthetic_flame import synthetic_deca, synthetic_flame, synthetic_masks

CONFIG = """
[probe]
min_frames = 5
[quality]
model = "fastervqa"
threshold = 0.0
[quality.fastervqa]
variant = "mt"
[matting]
model = "u2netp"
[matting.u2netp]
runtime = "torch"
[geometry]
model = "deca"
"""
"""A build by these models, and MediaPipe's landmarks."""


def write_fastervqa(folder: Path, lift: float = 0.15) -> None:
    """The network by the rule, whose scores lie far below the published mean: lifted to it."""
    net = FasterVQANet()
    state = rule_state(net.state_dict(), keep=("relative_position_index",))
    state["vqa_head.fc_last.bias"] = state["vqa_head.fc_last.bias"] + lift
    torch.save({"state_dict": state}, folder / "FAST_VQA_3D_1_1.pth")


def write_u2netp(folder: Path) -> None:
    torch.save(rule_state(NETWORKS["u2netp"]().state_dict()), folder / "u2netp.pth")


def write_deca(folder: Path) -> None:
    torch.save({"E_flame": synthetic_deca(), "global_step": 1}, folder / "deca_model.tar")


def write_flame(folder: Path) -> None:
    model = dict(synthetic_flame())
    model["J_regressor"] = csc_matrix(model["J_regressor"])
    model |= {"bs_style": "lbs", "bs_type": "lrotmin"}
    (folder / "generic_model.pkl").write_bytes(pickle.dumps(model, protocol=2))
    (folder / "FLAME_masks.pkl").write_bytes(pickle.dumps(synthetic_masks(), protocol=2))


def write_synthetic_weights(folder: Path) -> None:
    """All that a build by `CONFIG` loads."""
    for write in (write_fastervqa, write_u2netp, write_deca, write_flame):
        write(folder)
