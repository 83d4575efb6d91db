"""Protocols: those that come along, and what their files may say."""

from collections import Counter
from pathlib import Path

import pytest

from evaluation.protocols.read import PROTOCOLS, load_protocol, protocol_toml, write_protocol
from evaluation.protocols.tables import Protocol
from evaluation.records.published import TABLES
from infra import faults
from infra.errors import LakeError, UsageError


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_is_read_explains_itself_and_is_written_again(
    tmp_path: Path, name: str
) -> None:
    protocol = load_protocol(name)
    assert protocol.name == name
    assert protocol.title
    assert protocol.about
    assert protocol.published in {"", *TABLES}
    write_protocol(protocol, tmp_path / "plain.toml")
    (tmp_path / "told.toml").write_text(protocol_toml(protocol))
    assert load_protocol(tmp_path / "plain.toml") == protocol
    assert load_protocol(tmp_path / "told.toml") == protocol


def test_a_protocol_that_cannot_be_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "protocol.toml"
    write_protocol(load_protocol("demo"), path)
    monkeypatch.setattr(faults, "_passes", Counter())
    monkeypatch.setenv(faults.VARIABLE, "enospc@benchmark.protocol.write.after")
    with pytest.raises(LakeError, match="is full"):
        write_protocol(load_protocol("hdtf"), path)
    assert load_protocol(path) == load_protocol("demo")
    assert [*tmp_path.iterdir()] == [path]


def test_every_key_of_a_protocol_is_explained() -> None:
    tables: list[type] = [Protocol]
    while tables:
        for name, field in tables.pop().model_fields.items():  # type: ignore[attr-defined]
            if hasattr(field.annotation, "model_fields"):
                tables.append(field.annotation)
            else:
                assert field.description, name


def test_the_paper_s_protocols_are_the_paper_s() -> None:
    hdtf, ffhq = load_protocol("hdtf"), load_protocol("ffhq")
    assert (hdtf.cut.frames, hdtf.lights.faces, hdtf.size) == (100, 4, 512)
    assert 110 * hdtf.cut.frames * hdtf.lights.faces == 44_000
    assert (ffhq.source.limit, ffhq.cut.repeat) == (500, 16)
    assert load_protocol("cross-identity").mode == "animate"


def test_a_protocol_is_changed_by_overrides_and_its_digest_with_it() -> None:
    demo = load_protocol("demo")
    told = ["cut.frames=12", "source.folder=/clips", "lights.presets=['flat']", "size=512"]
    changed = load_protocol("demo", told)
    assert (changed.cut.frames, changed.source.folder, changed.size) == (12, "/clips", 512)
    assert changed.lights.presets == ("flat",)
    assert changed.digest != demo.digest
    assert load_protocol("demo", ["title=Another"]).digest == demo.digest


@pytest.mark.parametrize(
    "override",
    [
        "size=256",
        "cut.frames=24",
        "source.limit=3",
        "source.split=all",
        "lights.faces=1",
        "lights.presets=['top']",
        "cut.margin=0.3",
    ],
)
def test_a_changed_protocol_is_not_the_published_one(override: str) -> None:
    assert load_protocol("hdtf", [override]).published == ""


@pytest.mark.parametrize(
    "override",
    [
        "source.folder=/clips",
        "source.release=mine",
        "methods=['copy']",
        "seed=3",
        "lights.geometry.model=deca",
        "cut.frames=100",
    ],
)
def test_the_published_protocol_on_one_s_own_clips_stays_what_it_is(override: str) -> None:
    assert load_protocol("hdtf", [override]).published == "hdtf"


def test_a_file_may_say_itself_what_it_is_held_against(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("size = 256\npublished = 'hdtf'\n[lights]\nfaces = 1\n")
    assert load_protocol(path).published == "hdtf"
    assert load_protocol("demo", ["published=hdtf"]).published == "hdtf"


def test_a_file_without_a_name_is_called_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "Mine.toml"
    path.write_text("[lights]\npresets = ['flat']\n")
    assert load_protocol(path).name == "mine"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("cut.frame=2", "unknown key 'cut.frame'; allowed here: frames"),
        ("size=100", "multiple of 8"),
        ("lights.presets=['lefft']", "'lefft' is none of flat, soft"),
        ("lights.presets=['200,0']", "'200,0' is none of"),
        ("lights.presets=['top', 'top']", "named twice"),
        ("lights.presets=[]", "needs lights.presets or lights.faces"),
        ("source.split=held-out", "source.split = 'held-out' is not allowed"),
        ("name=../up", "name = '../up' is not allowed"),
        ("frames", "is no override"),
        ("size.frames=3", "size is no table of a protocol"),
    ],
)
def test_what_a_protocol_may_not_say_is_told_with_what_it_may(override: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_protocol("demo", [override])
    assert words in str(caught.value)


def test_a_release_and_a_folder_at_once_are_refused() -> None:
    with pytest.raises(UsageError, match="one of them"):
        load_protocol("demo", ["source.release=a", "source.folder=b"])


def test_an_unknown_protocol_is_told_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="hdtf, ffhq, cross-identity"):
        load_protocol("hdft")
