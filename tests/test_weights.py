"""The registry of weights, against wheels that the test makes itself."""

import hashlib
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra import weights, wheels
from infra.errors import UsageError, WeightsError

MEMBERS = {"pkg/a.tflite": b"first" * 100, "pkg/b.tflite": b"second" * 100}


def entry(name: str, member: str, data: bytes) -> str:
    return f"""
[{name}]
kind = "model"
purpose = "test"
file = "{Path(member).name}"
size = {len(data)}
sha256 = "{hashlib.sha256(data).hexdigest()}"
licence = "Apache-2.0"
terms = "none"
sources = [{{ wheel = "pkg==1", member = "{member}" }}]
"""


class Index:
    """Stands in for pip and its index; counts the downloads."""

    def __init__(self, members: dict[str, bytes]) -> None:
        self.members = members
        self.downloads = 0

    def __call__(self, requirement: str, folder: Path) -> Path:
        self.downloads += 1
        path = folder / "pkg-1-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in self.members.items():
                archive.writestr(name, data)
        return path


@pytest.fixture
def index(tmp_path, monkeypatch) -> Index:
    text = "".join(entry(m[4], m, data) for m, data in MEMBERS.items())
    index = Index(dict(MEMBERS))
    monkeypatch.setattr(weights, "registry", lambda: weights.parse_registry(text))
    monkeypatch.setattr(weights, "download_wheel", index)
    monkeypatch.setattr(weights, "_verified", set())
    monkeypatch.setenv("LIMELIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LIMELIGHT_WEIGHTS", raising=False)
    return index


def cached(tmp_path: Path) -> list[Path]:
    return [p for p in (tmp_path / "cache").rglob("*") if p.is_file() and p.suffix != ".lock"]


def test_one_download_serves_every_member_of_the_wheel(index):
    assert weights.weight_path("a").read_bytes() == MEMBERS["pkg/a.tflite"]
    assert weights.weight_path("b").read_bytes() == MEMBERS["pkg/b.tflite"]
    assert index.downloads == 1


def test_many_at_once_download_once(index):
    with ThreadPoolExecutor(8) as pool:
        paths = set(pool.map(weights.weight_path, ["a"] * 16))
    assert len(paths) == 1
    assert index.downloads == 1


def test_a_damaged_file_is_fetched_again(index):
    path = weights.pull("a")
    path.write_bytes(path.read_bytes()[:100])
    assert weights.verify("a") == "damaged"
    assert weights.pull("a").read_bytes() == MEMBERS["pkg/a.tflite"]
    assert weights.verify("a") == "present"


def test_a_wrong_digest_is_an_error_and_nothing_is_kept(index, tmp_path):
    index.members["pkg/a.tflite"] = b"fifth" * 100  # as long as the right one
    with pytest.raises(WeightsError, match="sha256"):
        weights.weight_path("a")
    assert cached(tmp_path) == []


def test_a_missing_member_is_an_error_that_names_it(index):
    del index.members["pkg/a.tflite"]
    with pytest.raises(WeightsError, match=r"holds no pkg/a\.tflite"):
        weights.weight_path("a")


def test_a_folder_of_ones_own_comes_first(index, tmp_path, monkeypatch):
    own = tmp_path / "own"
    own.mkdir()
    (own / "a.tflite").write_bytes(MEMBERS["pkg/a.tflite"])
    monkeypatch.setenv("LIMELIGHT_WEIGHTS", str(own))
    assert weights.weight_path("a") == own / "a.tflite"
    assert index.downloads == 0


def test_an_unknown_name_lists_the_known(index):
    with pytest.raises(UsageError, match="a, b"):
        weights.weight_digest("c")


def test_a_cache_that_cannot_be_written_is_an_error(index, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(WeightsError, match="cannot write the cache"):
        weights.weight_path("a")


def test_without_network_the_error_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(WeightsError, match=r"mediapipe==0\.10\.21") as error:
        wheels.download_wheel("mediapipe==0.10.21", tmp_path)
    assert "LIMELIGHT_WEIGHTS" in error.value.hint


def test_the_registry_is_well_formed():
    for weight in weights.registry().values():
        assert len(weight.sha256) == 64
        assert weight.size > 0
        assert weight.sources
        assert weight.licence
        assert weight.terms
