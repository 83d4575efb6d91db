"""The registry of weights: wheels that the test makes itself, pins, and what a build asks."""

import errno
import json
import os
import tomllib
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import common
from flows.cli.app import app
from flows.doctor import examine
from infra import weights, wheels
from infra.errors import UsageError, WeightsError
from infra.weights import cache, entries, pins, sources
from tests.weights_registry import Registry, own_registry, sha256, toml_entry

MEMBERS = {"pkg/a.tflite": b"first" * 100, "pkg/b.tflite": b"second" * 100}


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
def registry(tmp_path):
    with own_registry(tmp_path) as registry:
        yield registry


@pytest.fixture
def index(registry: Registry, monkeypatch) -> Index:
    for member, data in MEMBERS.items():
        source = f'wheel = "pkg==1", member = "{member}"'
        facts = {"size": len(data), "sha256": sha256(data)}
        registry.add(member[4], source, file=Path(member).name, **facts)
    index = Index(dict(MEMBERS))
    monkeypatch.setattr(sources, "download_wheel", index)
    return index


# Out of wheels: fetched at first use.


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
    assert weights.verify("a").state == "damaged"
    assert weights.pull("a").read_bytes() == MEMBERS["pkg/a.tflite"]
    assert weights.verify("a").state == "present"


def test_a_wrong_digest_is_an_error_and_nothing_is_kept(index, registry):
    index.members["pkg/a.tflite"] = b"fifth" * 100  # as long as the right one
    with pytest.raises(WeightsError, match="sha256"):
        weights.weight_path("a")
    assert registry.kept() == []


def test_a_missing_member_is_an_error_that_names_it(index):
    del index.members["pkg/a.tflite"]
    with pytest.raises(WeightsError, match=r"holds no pkg/a\.tflite"):
        weights.weight_path("a")


def test_a_bad_neighbour_does_not_spoil_a_good_member(index):
    index.members["pkg/b.tflite"] = b"other" * 120
    assert weights.weight_path("a").read_bytes() == MEMBERS["pkg/a.tflite"]
    assert weights.verify("b").state == "absent"


def test_a_folder_of_ones_own_comes_first(index, registry):
    (registry.own / "a.tflite").write_bytes(MEMBERS["pkg/a.tflite"])
    assert weights.weight_path("a") == registry.own / "a.tflite"
    assert index.downloads == 0


def test_a_damaged_file_of_ones_own_does_not_hide_the_published_one(index, registry):
    (registry.own / "a.tflite").write_bytes(b"x")
    assert weights.weight_path("a").read_bytes() == MEMBERS["pkg/a.tflite"]
    assert weights.verify("a").state == "present"


def test_an_unknown_name_lists_the_known(index):
    with pytest.raises(UsageError, match="a, b"):
        weights.weight_digest("c")


def test_a_cache_that_cannot_be_written_is_an_error(index, registry):
    registry.cache.write_text("a file where the folder should be")
    with pytest.raises(WeightsError, match="cannot write the cache"):
        weights.weight_path("a")


def test_without_network_the_error_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(WeightsError, match=r"mediapipe==0\.10\.21") as error:
        wheels.download_wheel("mediapipe==0.10.21", tmp_path)
    assert "LIMELIGHT_WEIGHTS" in error.value.hint


# The registry itself.


def test_the_registry_is_well_formed():
    known = weights.registry().values()
    assert all(weight.sources and weight.licence and weight.terms for weight in known)
    assert all(len(w.sha256) == 64 and w.size for w in known if w.embedded)
    assert len({weight.file for weight in known}) == len(known)


def test_pickled_originals_are_all_converted():
    pickled = (".pt", ".pth", ".tar", ".pkl", ".npy", ".t7")
    for weight in weights.registry().values():
        assert (weight.convert is not None) == weight.file.endswith(pickled), weight.name


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[a]\nkind = 'model'", "purpose"),
        (toml_entry("a", colour="red"), "colour"),
        (toml_entry("a", file="../a.bin"), "file"),
        (toml_entry("a", sha256="abc"), "sha256"),
        (toml_entry("a", entry="x"), "entry"),
        (toml_entry("a", 'url = "https://x/a.zip", member = "a"'), "sources"),
        ("a = 1", "no registry"),
        ("[a", "no registry"),
    ],
)
def test_a_malformed_entry_is_refused_by_its_key(text, match):
    with pytest.raises(UsageError, match=match) as error:
        weights.parse_registry(text, "my.toml")
    assert "my.toml" in error.value.message


def test_a_registry_of_ones_own_that_cannot_be_read_is_an_error(index, registry):
    (registry.own / entries.OWN).write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="cannot read the registry"):
        weights.registry()
    (registry.own / entries.OWN).unlink()
    (registry.own / entries.OWN).mkdir()
    with pytest.raises(UsageError, match="cannot read the registry"):
        weights.registry()


def test_a_folder_of_ones_own_that_is_not_there_is_an_error(index, registry, monkeypatch):
    monkeypatch.setenv("LIMELIGHT_WEIGHTS", str(registry.own / "nowhere"))
    with pytest.raises(UsageError, match="nowhere, which is no folder"):
        weights.registry()


def test_ones_own_registry_replaces_an_entry(index, registry):
    (registry.own / "mine.onnx").write_bytes(b"mine")
    (registry.own / entries.OWN).write_text(toml_entry("a", file="mine.onnx"))
    assert weights.weight_path("a") == registry.own / "mine.onnx"
    assert weights.weight_digest("a") == sha256(b"mine")


# Pins: where no digest is published.


@pytest.fixture
def bare(registry: Registry) -> Registry:
    """A weight without a published digest, in the folder of one's own."""
    registry.add("bare", 'register = "https://example.org/form"')
    (registry.own / "bare.bin").write_bytes(b"one")
    return registry


def test_the_first_file_is_pinned(bare):
    assert weights.standing("bare").wanted == ""
    assert weights.weight_digest("bare") == sha256(b"one")
    (bare.own / "bare.bin").unlink()
    assert weights.weight_digest("bare") == sha256(b"one")
    record = tomllib.loads((bare.cache / "weights/pins.toml").read_text())
    assert record["bare"]["sha256"] == sha256(b"one")


def test_a_digest_may_be_asked_for_without_recording_it(bare):
    for ask in (weights.weight_digest, weights.identity):
        assert ask("bare", record=False) == sha256(b"one")
    assert pins.pinned("bare") == ""
    (bare.own / "bare.bin").write_bytes(b"two")
    assert weights.weight_digest("bare") == sha256(b"two")


def test_a_disk_that_can_only_be_read_is_enough_once_all_is_there(bare, index, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    weights.pull("a")
    weights.prepare(["bare"])
    monkeypatch.setattr(cache, "SETTLED", -1)
    for name in ("write_text", "unlink", "replace"):
        monkeypatch.setattr(Path, name, refuse)
    weights.prepare(["a", "bare"])
    assert weights.weight_path("bare") == bare.own / "bare.bin"


def test_another_file_is_refused_with_both_digests(bare):
    weights.weight_digest("bare")
    (bare.own / "bare.bin").write_bytes(b"two")
    for ask in (weights.weight_path, weights.pull, lambda name: weights.prepare([name])):
        with pytest.raises(WeightsError, match=sha256(b"two")) as error:
            ask("bare")
        assert sha256(b"one") in error.value.message
        assert f"--from {bare.own / 'bare.bin'} --replace" in error.value.hint
    assert weights.verify("bare").state == "damaged"


def test_a_new_file_is_accepted_by_name_and_changes_the_digest(bare):
    weights.weight_digest("bare")
    (bare.own / "bare.bin").write_bytes(b"two")
    weights.pull("bare", path=bare.own / "bare.bin", replace=True)
    assert weights.weight_digest("bare") == sha256(b"two")
    assert weights.weight_path("bare").read_bytes() == b"two"


def test_a_file_got_by_hand_is_copied_under_its_own_name(bare, tmp_path):
    (bare.own / "bare.bin").unlink()
    (tmp_path / "Downloaded (1)").write_bytes(b"one")
    path = weights.pull("bare", path=tmp_path / "Downloaded (1)")
    (tmp_path / "Downloaded (1)").unlink()
    assert weights.weight_path("bare") == path
    assert path.read_bytes() == b"one"


def test_a_missing_file_got_by_hand_is_an_error(bare, tmp_path):
    with pytest.raises(WeightsError, match="No such file"):
        weights.pull("bare", path=tmp_path / "nothing")


def test_a_published_digest_cannot_be_replaced(index, registry):
    (registry.own / "other").write_bytes(b"other")
    with pytest.raises(UsageError, match="published"):
        weights.pull("a", path=registry.own / "other", replace=True)
    with pytest.raises(WeightsError, match="as published"):
        weights.pull("a", path=registry.own / "other")


def test_a_published_md5_is_asked_of_the_first_file(registry):
    registry.add("summed", md5="0" * 32)
    (registry.own / "summed.bin").write_bytes(b"one")
    with pytest.raises(WeightsError, match="md5"):
        weights.weight_path("summed")
    assert registry.kept() == []


def test_a_second_digest_is_not_pinned_over_the_first(bare):
    weight = weights.find_weight("bare")
    pins.pin(weight, sha256(b"one"))
    with pytest.raises(WeightsError, match="another file"):
        pins.pin(weight, sha256(b"two"))
    assert pins.pinned("bare") == sha256(b"one")


@pytest.mark.parametrize(
    "record",
    [
        b"[torn",
        b'bare = "abc"',
        b"bare = 1",
        b"[bare]",
        b'[bare]\nsha256 = ""',
        b'[bare]\nsha256 = "../../x"',
        b'["../b"]\nsha256 = "' + b"0" * 64 + b'"',
        b"\xff",
        None,
    ],
)
def test_a_damaged_record_of_pins_is_named(bare, record):
    weights.weight_digest("bare")
    path = bare.cache / "weights/pins.toml"
    path.unlink()
    if record is None:
        path.mkdir()
    else:
        path.write_bytes(record)
    with pytest.raises(WeightsError, match=r"pins\.toml is damaged"):
        weights.weight_digest("bare")


def test_a_digest_edited_in_capitals_is_the_same(bare):
    path = bare.cache / "weights/pins.toml"
    path.parent.mkdir(parents=True)
    path.write_text(f'[bare]\nsha256 = "{sha256(b"one").upper()}"\n')
    assert weights.standing("bare").state == "present"


def test_a_file_of_another_name_is_not_accepted_while_the_old_one_hides_it(bare, tmp_path):
    weights.weight_digest("bare")
    (tmp_path / "new").write_bytes(b"two")
    with pytest.raises(WeightsError, match="asked first"):
        weights.pull("bare", path=tmp_path / "new", replace=True)
    assert pins.pinned("bare") == sha256(b"one")
    (bare.own / "bare.bin").unlink()
    weights.pull("bare", path=tmp_path / "new", replace=True)
    assert pins.pinned("bare") == sha256(b"two")


def test_a_path_in_a_hint_can_be_pasted(bare, tmp_path):
    weights.weight_digest("bare")
    (bare.own / "bare.bin").unlink()
    (tmp_path / "Downloaded (1)").write_bytes(b"two")
    with pytest.raises(WeightsError) as error:
        weights.pull("bare", path=tmp_path / "Downloaded (1)")
    assert f"--from '{tmp_path}/Downloaded (1)' --replace" in error.value.hint


# What is no file at all.


def make_entry(kind: str, path: Path) -> None:
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path.name)
    else:
        os.mkfifo(path)


@pytest.mark.parametrize("kind", ["folder", "loop", "pipe"])
def test_what_is_no_file_is_damaged_and_disables_nothing_else(bare, index, tmp_path, kind):
    make_entry(kind, bare.own / "bare.bin")
    found = weights.standing("bare")
    assert (found.state, bool(found.reason)) == ("damaged", True)
    assert command("list").exit_code == 0
    assert command("verify").exit_code == 4
    assert "damaged weights" in [finding.what for finding in examine(tmp_path)]
    with pytest.raises(WeightsError, match="cannot read"):
        weights.prepare(["bare", "a"])
    assert weights.verify("a").state == "present"


def test_the_doctor_reports_a_damaged_record(bare, tmp_path):
    weights.weight_digest("bare")
    (bare.cache / "weights/pins.toml").write_text("[torn")
    assert ("weights", "bad") in [finding[:2] for finding in examine(tmp_path)]


# Hashing no more than needed.


@pytest.fixture
def hashed(monkeypatch) -> list[Path]:
    found: list[Path] = []
    digest = cache.digest_file
    monkeypatch.setattr(cache, "digest_file", lambda path: found.append(path) or digest(path))
    return found


def test_an_unchanged_file_is_hashed_once_for_all_processes(bare, hashed, monkeypatch):
    path = bare.own / "bare.bin"
    monkeypatch.setattr(cache, "SETTLED", -1)
    assert [weights.standing("bare").digest for _ in range(3)] == [sha256(b"one")] * 3
    assert hashed == [path]
    assert weights.verify("bare").state == "present"
    assert hashed == [path] * 2


def test_a_changed_file_of_the_same_size_is_hashed_again(bare, hashed, monkeypatch):
    monkeypatch.setattr(cache, "SETTLED", -1)
    weights.standing("bare")
    before = (bare.own / "bare.bin").stat()
    (bare.own / "bare.bin").write_bytes(b"two")
    os.utime(bare.own / "bare.bin", ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert weights.standing("bare").digest == sha256(b"two")


def test_a_file_written_a_moment_ago_is_not_trusted_yet(bare, hashed):
    weights.standing("bare")
    weights.standing("bare")
    assert len(hashed) == 2


# Before any work starts.


def test_what_is_missing_is_told_at_once_with_the_commands(index, registry):
    registry.add("first", 'url = "https://example.org/first"')
    registry.add("second", 'url = "https://example.org/second"')
    registry.add("gated", 'register = "https://example.org/form", how = "agree"', unlocks="x = 1")
    with pytest.raises(WeightsError) as error:
        weights.prepare(["first", "a", "gated", "second", "first"])
    assert "first (first.bin, for test.model" in error.value.message
    assert "gated (gated.bin, for x = 1)" in error.value.message
    assert error.value.hint.splitlines()[0] == "limelight weights pull first second"
    assert "https://example.org/form" in error.value.hint
    assert "limelight weights pull gated --from PATH" in error.value.hint
    assert weights.verify("a").state == "present"


def test_nothing_big_is_fetched_by_itself(registry):
    registry.add("big", 'url = "http://127.0.0.1:9/big"')
    for ask in (weights.weight_path, weights.weight_digest):
        with pytest.raises(WeightsError, match="missing") as error:
            ask("big")
        assert error.value.hint == "limelight weights pull big"


# The commands.


def command(*arguments: str):
    return CliRunner().invoke(app, ["weights", *arguments])


def test_the_list_tells_states_apart(index, bare):
    weights.pull("a")
    weights.weight_digest("bare")
    (bare.cache / "weights" / sha256(MEMBERS["pkg/b.tflite"])[:16] / "b.tflite").write_bytes(b"x")
    bare.add("gone", 'register = "https://example.org/form"')
    rows = {line.split()[0]: line for line in command("list").stdout.splitlines()}
    assert " here " in rows["a"]
    assert " damaged " in rows["b"]
    assert " pinned " in rows["bare"]
    assert " missing " in rows["gone"]


def test_what_a_person_must_fetch_ends_in_where_and_how(bare):
    (bare.own / "bare.bin").unlink()
    error = command("pull", "bare").exception
    assert isinstance(error, WeightsError)
    assert error.exit_code == 4
    assert "https://example.org/form" in error.hint
    assert "--from PATH" in error.hint


def test_one_trouble_does_not_keep_the_others_from_being_pulled(index, bare):
    (bare.own / "bare.bin").unlink()
    done = command("pull", "bare", "a")
    assert "a: " in done.stdout
    assert isinstance(done.exception, WeightsError)


def test_pull_without_names_is_for_what_is_embedded(index, bare):
    assert command("pull").exit_code == 0
    assert [weights.verify(name).state for name in ("a", "b")] == ["present"] * 2


@pytest.mark.parametrize(
    "arguments",
    [["--from", "x"], ["a", "--replace"], ["a", "--all"], ["a", "b", "--from", "x"], ["nothing"]],
)
def test_a_pull_that_makes_no_sense_is_refused(index, arguments):
    assert isinstance(command("pull", *arguments).exception, UsageError)


def test_verify_ends_in_four_where_something_is_damaged(index):
    weights.pull("a").write_bytes(b"x")
    assert command("verify").exit_code == 4


def test_verify_counts_what_it_looked_at(index):
    del index.members["pkg/b.tflite"]
    assert "no weights are here" in command("verify").stdout
    weights.pull("a")
    assert "1 of 2 weights are here" in command("verify").stdout
    found = json.loads(command("verify", "--json").stdout)
    assert [each["state"] for each in found] == ["present", "absent"]


def test_pull_says_what_the_licence_asks(bare, index):
    done = command("pull", "bare", "a")
    assert "  Apache-2.0: none" in done.stdout
    assert done.stdout.count("Apache-2.0") == 1


def test_a_mirror_makes_everything_fetchable(bare, tmp_path, monkeypatch):
    (bare.own / "bare.bin").rename(tmp_path / "bare.bin")
    assert "to be got by hand" in command("list").stdout
    monkeypatch.setenv("LIMELIGHT_WEIGHTS_MIRROR", tmp_path.as_uri())
    assert "fetched with" in command("list").stdout
    assert command("pull", "--all").exit_code == 0
    assert weights.verify("bare").state == "present"


def test_nothing_but_errors_is_printed_of_a_pull_in_a_script(bare):
    (bare.own / "bare.bin").unlink()
    done = command("pull", "bare")
    assert done.stderr == done.stdout == ""
    assert command("verify").stderr == ""


def test_names_and_hints_are_not_broken(capsys, monkeypatch):
    for console in (common.console, common.stderr):
        monkeypatch.setattr(console, "_width", 40)
    hint = f"limelight weights pull net --from /{'very/' * 20}long"
    with pytest.raises(SystemExit), common.errors():
        raise WeightsError("wrong", hint=hint)
    assert hint in capsys.readouterr().err
    common.show_table([{"name": "u2net_human_seg_torch", "unlocks": "some words " * 9}])
    assert "u2net_human_seg_torch" in capsys.readouterr().out


def test_only_a_torch_u2net_is_exported(index, tmp_path):
    error = command("export", "a", str(tmp_path / "a.onnx")).exception
    assert isinstance(error, UsageError)
    assert "u2net_human_seg_torch and u2netp_torch can" in error.message


@pytest.mark.filterwarnings("ignore")
def test_a_torch_u2net_is_exported(registry, tmp_path):
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    from stages.models.u2net.network import NETWORKS

    registry.add("u2netp_torch", file="u2netp.pth", convert="torch")
    torch.save(NETWORKS["u2netp"]().state_dict(), registry.own / "u2netp.pth")
    assert command("pull", "u2netp_torch").exit_code == 0
    path = tmp_path / "u2netp.onnx"
    assert command("export", "u2netp_torch", str(path)).exit_code == 0
    assert [each.name for each in runtime.InferenceSession(path).get_outputs()] == ["matte"]
