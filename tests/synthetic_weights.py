"""Files like those that publishers give out, made of synthetic weights: no model, but a whole one.

Their form is that of the originals (pickles, archives of torch, an exported ONNX), so that they
go the same way: registry, pin, conversion, worker.
"""

import pickle
from functools import cache
from pathlib import Path

import torch
from scipy.sparse import csc_matrix

from stages.models.fastervqa.network import FasterVQANet
from stages.models.u2net.export import export_onnx
from stages.models.u2net.network import u2netp
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
[landmarks]
model = "face_landmarker"
[matting]
model = "u2netp"
[geometry]
model = "deca"
"""
"""A build by the standard models; only the face landmarker's weights are to be had as they are."""

OWN_U2NETP = """
[u2netp]
kind = "model"
purpose = "The small U2Net, of synthetic weights."
unlocks = 'matting.model = "u2netp"'
file = "own_u2netp.onnx"
licence = "ours"
terms = "For tests."
"""
"""An ONNX file of one's own instead of the published one, whose digest is known."""

OWN_FASTERVQA = """
[fastervqa]
kind = "model"
purpose = "A FasterVQA that one trained."
unlocks = 'quality.model = "fastervqa"'
file = "FAST_VQA_3D_1_1.pth"
licence = "ours"
terms = "For tests."
convert = "torch"
entry = "state_dict"
"""
"""A checkpoint of one's own: what it should hold is not known before it is loaded."""


@cache
def fastervqa_state() -> dict[str, torch.Tensor]:
    """The network by the goldens' rule, whose scores lie far below the published mean."""
    state: dict[str, torch.Tensor] = rule_state(
        FasterVQANet().state_dict(), keep=("relative_position_index",)
    )
    return state


def write_fastervqa(folder: Path, lift: float = 0.15) -> None:
    """A checkpoint whose scores are lifted to about the mean."""
    bias = "vqa_head.fc_last.bias"
    state = fastervqa_state() | {bias: fastervqa_state()[bias] + lift}
    torch.save({"state_dict": state}, folder / "FAST_VQA_3D_1_1.pth")


def write_u2netp(folder: Path) -> None:
    net = u2netp()
    net.load_state_dict(rule_state(net.state_dict()))
    export_onnx(net, folder / "own_u2netp.onnx")
    (folder / "weights.toml").write_text(OWN_U2NETP)


def write_deca(folder: Path) -> None:
    torch.save({"E_flame": synthetic_deca(), "global_step": 1}, folder / "deca_model.tar")


def write_flame(folder: Path) -> None:
    model = dict(synthetic_flame())
    model["J_regressor"] = csc_matrix(model["J_regressor"])
    model |= {"bs_style": "lbs", "bs_type": "lrotmin"}
    (folder / "generic_model.pkl").write_bytes(pickle.dumps(model, protocol=2))
    (folder / "FLAME_masks.pkl").write_bytes(pickle.dumps(synthetic_masks(), protocol=2))


def write_synthetic_weights(folder: Path) -> None:
    """All that a build by `CONFIG` loads, but for the face landmarker's bundle."""
    for write in (write_fastervqa, write_u2netp, write_deca, write_flame):
        write(folder)
