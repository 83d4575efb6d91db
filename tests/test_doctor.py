"""What the doctor finds, on a machine and with packages that are made up."""

import importlib.metadata
import sys

import pytest

from flows import doctor

REQUIRED = ["rich>=15", "torch>=2.11; extra == 'train'", "ray[train]==2.60; extra == 'train'"]
INSTALLED = dict.fromkeys(doctor.TRAINING, "2.12") | {"ray": "2.60", "rich": "1"}


@pytest.fixture
def install(monkeypatch):
    """Pretend that these versions are installed."""

    def version(name):
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    versions = dict(INSTALLED)
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: REQUIRED)
    monkeypatch.setattr(importlib.metadata, "version", version)
    return versions


def test_packages_for_training_are_told_with_their_versions(install):
    finding = doctor.training_packages()
    assert finding.state == "good"
    assert finding.found == "torch 2.12, deepspeed 2.12, diffusers 2.12"


def test_what_training_lacks_is_a_note_that_says_what_to_install(install):
    del install["deepspeed"]
    finding = doctor.training_packages()
    assert (finding.state, finding.found) == ("note", "deepspeed is missing")
    assert "limelight[train]" in finding.do
    install |= {"deepspeed": "0.19", "ray": "2.61"}
    assert doctor.training_packages().found == "ray 2.61 is not ==2.60"


@pytest.fixture
def driver(monkeypatch):
    """Pretend that NVIDIA's tool ends so."""

    def end(code):
        monkeypatch.setattr(doctor, "_NVIDIA_SMI", (sys.executable, "-c", code))

    return end


def test_gpus_are_listed_and_a_torch_without_cuda_is_noted(install, driver):
    driver("print('NVIDIA H200, 143771 MiB\\nNVIDIA H200, 143771 MiB')")
    both = "NVIDIA H200, 143771 MiB; NVIDIA H200, 143771 MiB"
    assert doctor.gpus()[1:3] == ("good", both)
    install["torch"] = "2.12+cpu"
    assert doctor.gpus()[1:3] == ("note", f"{both}; torch is built without CUDA")


def test_a_driver_that_does_not_answer_is_noted_with_its_words(install, driver):
    driver("print('Driver/library version mismatch'); raise SystemExit(9)")
    finding = doctor.gpus()
    assert finding.state == "note"
    assert "Driver/library version mismatch" in finding.found
    assert "run nvidia-smi" in finding.do


def test_a_machine_without_a_driver_is_told_what_a_gpu_would_need(install, monkeypatch):
    monkeypatch.setattr(doctor, "_NVIDIA_SMI", ("no-such-tool",))
    finding = doctor.gpus()
    assert finding.state == "good"
    assert "no NVIDIA driver" in finding.found
    assert "install NVIDIA's driver" in finding.do
