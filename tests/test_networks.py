"""Diffusers' networks are imported without what only other networks of its work with."""

import subprocess
import sys


def test_the_networks_come_without_all_else_that_diffusers_can_do():
    code = "import sys, training.model.networks; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    there = set(done.stdout.split())
    assert "diffusers.models.unets.unet_spatio_temporal_condition" in there
    assert not there & {"bitsandbytes", "scipy.stats", "transformers.modeling_utils"}
