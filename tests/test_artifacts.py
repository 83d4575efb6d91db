import hashlib
from pathlib import Path

import pytest

from catalog.artifacts import Artifact, ArtifactStore
from infra.errors import LakeError


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


def commit(store: ArtifactStore, data: bytes) -> Artifact:
    temporary = store.root.parent / "temporary"
    temporary.write_bytes(data)
    artifact = store.commit("matting", "mask.mp4", temporary)
    assert not temporary.exists()
    return artifact


def test_a_file_gets_the_name_of_its_content(store: ArtifactStore):
    artifact = commit(store, b"alpha")
    digest = hashlib.sha256(b"alpha").hexdigest()
    assert artifact == Artifact("mask.mp4", digest, 5)
    assert store.path("matting", artifact) == store.root / "matting" / f"{digest}.mp4"
    assert store.require("matting", artifact).read_bytes() == b"alpha"


def test_the_same_bytes_are_kept_once(store: ArtifactStore):
    assert commit(store, b"alpha") == commit(store, b"alpha")
    assert len(list(store.root.rglob("*.mp4"))) == 1


@pytest.mark.parametrize("damage", [b"alphA", b"al", b""])
def test_a_damaged_file_is_replaced_by_a_whole_one(store: ArtifactStore, damage: bytes):
    artifact = commit(store, b"alpha")
    store.path("matting", artifact).write_bytes(damage)
    assert not store.verify("matting", artifact)
    commit(store, b"alpha")
    assert store.verify("matting", artifact)


def test_a_missing_or_short_artifact_names_the_command_that_remakes_it(store: ArtifactStore):
    artifact = commit(store, b"alpha")
    store.path("matting", artifact).write_bytes(b"al")
    with pytest.raises(LakeError, match=r"(?s)has 2 bytes, not 5.*--stage matting"):
        store.require("matting", artifact)
    store.path("matting", artifact).unlink()
    with pytest.raises(LakeError, match="is missing"):
        store.require("matting", artifact)
