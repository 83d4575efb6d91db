"""Draw meshes with the GPU's kernels where there is no GPU, in Triton's interpreter.

    TRITON_INTERPRET=1 python -m tests.raster_interpreter MESHES FRAGMENTS

Triton chooses when it is imported, so that this is a process of its own. ``MESHES`` holds, for
each case, ``<case>.vertices`` (T, V, 3), ``<case>.faces`` (F, 3) and ``<case>.size``;
``FRAGMENTS`` then ``<case>.face``, ``<case>.barycentrics`` and ``<case>.depth``.
"""

import sys

import numpy as np
import torch

from stages.models.raster.cuda import rasterise

MANY = 64
"""Of more faces than this, a program draws more: each costs the interpreter the same."""


def main(meshes: str, out: str) -> None:
    torch.set_num_threads(1)
    found = {}
    with np.load(meshes) as given:
        for case in {name.partition(".")[0] for name in given.files}:
            vertices, faces = (
                torch.from_numpy(given[f"{case}.{n}"]) for n in ("vertices", "faces")
            )
            height, width = given[f"{case}.size"].tolist()
            each = {"faces_each": 256, "pixels_each": 8192} if len(faces) > MANY else {}
            fragments = rasterise(vertices, faces, (height, width), **each)
            for name, tensor in vars(fragments).items():
                found[f"{case}.{name}"] = tensor.numpy()
    np.savez(out, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
