"""Cells: from a plan to rows and features, whatever a method or a disk does."""

import json
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.cells.cache import FeatureCache
from evaluation.cells.cell import Case, Cell, plan, unavailable_digest
from evaluation.cells.generate import generate
from evaluation.cells.inputs import case_features, inputs
from evaluation.cells.measure import measure
from evaluation.cells.places import Places
from evaluation.cells.rows import Row, failed
from evaluation.cells.worker import FACTORY, Answer, CellWorker, item_id, lost_outcome
from evaluation.makers import Maker
from evaluation.methods.base import MethodError, Scratch
from evaluation.metrics.base import Extractor
from evaluation.protocols.lossless import DamagedFilm, Film, keep_film
from infra.engine.base import Done, Item, Kind, Lost, Resources, WorkerSpec
from infra.engine.inline import InlineEngine
from infra.engine.keeper import Hand
from infra.engine.ledger import Claim, Ledger
from infra.engine.pool import WorkerPool
from infra.errors import LakeError, UsageError, WeightsError
from tests import bench_fakes as fakes
from tests.bench_fakes import Brightness, Fake, Sums
from tests.test_engine import LocalHand


def cells_of(root: Path, count: int = 3, **arguments: object) -> list[Cell]:
    cases = [fakes.case(root, seed) for seed in range(count)]
    return plan({"fake": Fake(**arguments).digest}, cases)


def worker(
    root: Path, metrics: Sequence[Maker] = (), *, retry: bool = False, **arguments: object
) -> CellWorker:
    chosen = [*metrics] or [fakes.metric()]
    made = {"fake": fakes.method(**arguments)}
    return CellWorker(str(root), str(root / "tmp"), made, chosen, retry=retry, batch=2)


def run(worker: CellWorker, cell: Cell) -> Answer:
    payload = json.loads(json.dumps({"cell": cell.to_json()}))
    return worker.run(payload, lambda words: None)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_plan_does_not_depend_on_the_order_it_is_told_in(tmp_path: Path) -> None:
    cases = [fakes.case(tmp_path, seed) for seed in range(4)]
    methods = {name: Fake(add).digest for add, name in enumerate("abc")}
    wanted = [cell.id for cell in plan(methods, cases)]
    random.Random(1).shuffle(cases)
    shuffled = dict(reversed(methods.items()))
    assert [cell.id for cell in plan(shuffled, cases)] == wanted
    assert len(set(wanted)) == 12


def test_a_cell_is_known_by_content_not_by_names(tmp_path: Path) -> None:
    told = fakes.case(tmp_path).to_json()
    same, other = json.loads(json.dumps(told)), json.loads(json.dumps(told))
    same["subject"]["name"] = same["light"]["name"] = "another"
    other["light"]["coefficients"][3][1] += 1e-3
    assert Case.from_json(same).id == Case.from_json(told).id != Case.from_json(other).id


def test_a_cell_is_told_in_json_and_back(tmp_path: Path) -> None:
    light = fakes.light(3, film=True, root=tmp_path)
    pair = Case("animate", fakes.subject(tmp_path, 1), fakes.subject(tmp_path, 2), light, 7)
    cell = Cell("fake", "0123", pair)
    back = Cell.from_json(json.loads(json.dumps(cell.to_json())))
    assert back.id == cell.id
    assert back.to_json() == cell.to_json()
    assert pair.draw == back.case.draw != Case("animate", pair.subject, seed=8).draw


def test_what_cannot_run_has_a_digest_of_what_was_asked_for() -> None:
    asked = [("a", {}), ("b", {}), ("a", {"x": 1, "y": 2}), ("a", {"y": 2, "x": 1})]
    digests = [unavailable_digest(name, options) for name, options in asked]
    assert digests[2] == digests[3]
    assert len(set(digests)) == 3
    assert {len(each) for each in digests} == {16}


def test_a_method_is_told_what_its_case_is_called(tmp_path: Path) -> None:
    names = []

    class Curious(Fake):
        def relight(self, driving, light, scratch):
            names.append(scratch.case)
            return super().relight(driving, light, scratch)

        def animate(self, driving, portrait, scratch):
            names.append(scratch.case)
            return super().animate(driving, portrait, scratch)

    one, two = (fakes.subject(tmp_path, seed) for seed in (1, 2))
    cases = [Case("relight", one, None, fakes.light(3)), Case("animate", one, two)]
    for cell in plan({"fake": "0"}, cases):
        generate(Curious(), cell, Places(tmp_path), tmp_path / "tmp")
    assert sorted(names) == ["clip_1__clip_2", "clip_1__light_3"]


def test_cases_that_would_be_called_the_same_are_told_apart(tmp_path: Path) -> None:
    twins = [replace(fakes.subject(tmp_path, seed), name="Anna.mp4") for seed in (1, 2)]
    cases = [Case("relight", each, None, fakes.light(3)) for each in twins]
    cases += [Case("relight", twins[0], None, fakes.light(4))]
    names = [cell.case.name for cell in plan({"fake": "0"}, cases)]
    assert sorted(names)[2] == "Anna__light_4"
    assert sorted(names)[:2] == sorted(f"Anna__light_3-{case.id[:12]}" for case in cases[:2])


def test_one_method_under_two_names_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="left and right are the same method"):
        plan({"right": "1", "left": "1"}, [fakes.case(tmp_path)])


def test_a_method_s_film_is_kept_with_what_it_cost(tmp_path: Path) -> None:
    (cell,) = cells_of(tmp_path, 1)
    row = generate(Fake(), cell, Places(tmp_path), tmp_path / "tmp")
    assert row.outcome == "done"
    assert row.film
    wanted = fakes.pictures(0) + np.uint8(1)
    assert np.array_equal(np.stack([*row.film.pictures()]), wanted)
    assert row.film.path == Places(tmp_path).film(row.film.digest)
    assert 0 < row.facts["seconds_per_frame"] < 1
    assert row.facts["peak_bytes"] >= 0
    assert not [*(tmp_path / "tmp").iterdir()]


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        ("few", "it gave 2 of the clip's 5 frames"),
        ("many", "it gave more than the 5 frames of the clip"),
        ("nan", "frame 0 holds numbers that are not finite"),
        ("float", "frame 0 is float32, not uint8"),
        ("shape", "frame 0 has the shape (15, 16, 3); (16, 16, 3) is needed"),
        ("list", "frame 0 is a list, not an array"),
        ("none", "frame 0 is a NoneType, not an array"),
        ("raises", "it is too dark"),
        ("crashes", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_method_that_fails_costs_its_row_which_says_why(
    tmp_path: Path, way: str, reason: str
) -> None:
    (cell,) = cells_of(tmp_path, 1, way=way)
    answer = run(worker(tmp_path, way=way), cell)
    row = Row.read(Places(tmp_path), cell.id)
    assert row
    assert row.outcome == answer["outcome"] == "failed"
    assert row.reason == answer["reason"] == reason
    assert (row.film, row.facts, answer["measured"]) == (None, {}, 0)
    assert not [path for path in (tmp_path / "films").iterdir() if path.suffix != ".mkv"]


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        ("unavailable", "its weights are not here"),
        ("setup", "it could not be set up: OSError: no such model"),
        ("weights", "it could not be set up: the weight net is not here"),
        ("memory", "it could not be set up: MemoryError: 1 GiB"),
    ],
)
def test_what_a_machine_lacks_costs_a_method_its_rows_in_this_run_alone(
    tmp_path: Path, way: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = cells_of(tmp_path, 2, way=way)
    busy = worker(tmp_path, way=way)
    for cell in (one, two):
        assert run(busy, cell)["outcome"] == "unavailable"
        row = Row.read(Places(tmp_path), cell.id)
        assert row
        assert (row.outcome, row.reason, row.film) == ("unavailable", reason, None)
    monkeypatch.setattr(Fake, "unavailable", lambda self: "")
    monkeypatch.setattr(fakes, "SETUP", {})
    assert run(worker(tmp_path, way=way), one)["outcome"] == "done"


class FullError(RuntimeError):
    pass


class AcceleratorError(RuntimeError):
    pass


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands for torch, as far as errors go."""
    cuda = SimpleNamespace(is_available=lambda: False)
    stand_in = SimpleNamespace(
        OutOfMemoryError=FullError, AcceleratorError=AcceleratorError, cuda=cuda, __version__="0"
    )
    monkeypatch.setitem(sys.modules, "torch", stand_in)


def raising(error: Exception) -> Callable[..., None]:
    def raises(*args: object) -> None:
        raise error

    return raises


@pytest.mark.parametrize(
    "error",
    [
        FullError("CUDA out of memory"),
        AcceleratorError("CUDA error: out of memory"),
        WeightsError("the weight net is not here"),
        ModuleNotFoundError("No module named 'diffusers'"),
    ],
)
def test_what_a_machine_lacks_while_a_film_is_made_is_not_the_method_s_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torch: None, error: Exception
) -> None:
    monkeypatch.setattr(Fake, "relight", raising(error))
    (cell,) = cells_of(tmp_path, 1)
    row = generate(Fake(), cell, Places(tmp_path), tmp_path / "tmp")
    assert (row.outcome, row.film) == ("unavailable", None)
    assert row.reason == f"{type(error).__name__}: {error}"


def test_a_gpu_that_is_lost_ends_the_process_not_the_method_s_other_cells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torch: None
) -> None:
    lost = raising(AcceleratorError("CUDA error: an illegal memory access was encountered"))
    (cell,) = cells_of(tmp_path, 1)
    monkeypatch.setattr(Fake, "relight", lost)
    with pytest.raises(AcceleratorError):
        generate(Fake(), cell, Places(tmp_path), tmp_path / "tmp")
    monkeypatch.setattr(Sums, "start", lost)
    with pytest.raises(AcceleratorError):
        measure(cell.subject.film, [Sums()])


MIB = 1 << 20


WITHIN = """
import numpy as np
from evaluation.cells.meter import Held, Meter
ballast = np.ones(100 << 20, np.uint8)
before = Held.now()
with Meter(before) as meter:
    ballast[: 1 << 20] = np.ones(50 << 20, np.uint8)[: 1 << 20]
with Meter(before + Held(resident=1 << 40)) as none:
    pass
print(meter.peak_bytes >> 20, none.peak_bytes)
"""


def test_a_method_s_memory_is_counted_without_what_its_process_held_before() -> None:
    # By itself: the kernel may take idle pages from a process that has been at work for long.
    done = subprocess.run(
        [sys.executable, "-c", WITHIN], capture_output=True, text=True, check=True, timeout=60
    )
    peak, none = map(int, done.stdout.split())
    assert 45 <= peak < 90
    assert none == 0


CHILD = """
import subprocess, sys
from evaluation.cells.meter import Held, Meter
inner = "import time; held = bytearray(80 << 20); time.sleep(0.6)"
outer = f"import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', {inner!r}])"
with Meter(Held.now()) as meter:
    subprocess.run([sys.executable, "-S", "-c", outer], check=True)
print(meter.peak_bytes >> 20)
"""


def test_memory_of_child_processes_is_the_method_s() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD], capture_output=True, text=True, check=True, timeout=120
    )
    assert 60 <= int(done.stdout) < 200


HEAVY = """
import sys
from pathlib import Path
import numpy as np
from evaluation.cells.places import Places
from evaluation.cells.rows import Row
from tests.bench_fakes import Sums
from tests.test_cells import cells_of, run, worker

root = Path(sys.argv[1])
Sums.setup = lambda self: setattr(self, "model", np.ones(200 << 20, np.uint8))
busy = worker(root)
for cell in cells_of(root, 2):
    run(busy, cell)
    print(int(Row.read(Places(root), cell.id).facts["peak_bytes"]) >> 20)
"""


def test_models_of_metrics_are_not_the_method_s_memory(tmp_path: Path) -> None:
    # By itself, as above: what other tests let go of meanwhile would hide the models.
    done = subprocess.run(
        [sys.executable, "-c", HEAVY, str(tmp_path)],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert all(int(peak) < 100 for peak in done.stdout.split())
    assert len(done.stdout.split()) == 2


def test_a_reason_is_the_same_in_any_run_and_names_no_folder_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(self: Fake, driving: Film, light: object, scratch: Scratch) -> None:
        here = scratch.folder
        told = f"{here}/output, {here.resolve()}/log and {driving.path} are of {here}"
        raise MethodError(told)

    (tmp_path / "real").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "real")
    (cell,) = cells_of(tmp_path, 1)
    monkeypatch.setattr(Fake, "relight", lost)
    first, second = (
        generate(Fake(), cell, Places(tmp_path), tmp_path / "linked" / run) for run in ("a", "b")
    )
    film = f"films/{cell.subject.film.digest}.mkv"
    assert first.reason == f"output, log and {film} are of its scratch folder"
    assert first == second


def test_an_animation_is_of_the_reference_s_portrait(tmp_path: Path) -> None:
    pair = Case("animate", fakes.subject(tmp_path, 1), fakes.subject(tmp_path, 2))
    row = generate(Fake(), Cell("fake", "0", pair), Places(tmp_path), tmp_path / "tmp")
    assert row.film
    assert np.array_equal([*row.film.pictures()][4], fakes.pictures(2)[0])


def test_a_damaged_driving_clip_is_not_the_method_s_fault(tmp_path: Path) -> None:
    (cell,) = cells_of(tmp_path, 1)
    cell.subject.film.path.write_bytes(b"")
    with pytest.raises(LakeError, match="cut anew"):
        run(worker(tmp_path), cell)
    assert Row.read(Places(tmp_path), cell.id) is None
    assert not cell.subject.film.path.exists()  # so that the next run cuts it


def test_a_full_disk_is_not_the_method_s_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    (cell,) = cells_of(tmp_path, 1)
    monkeypatch.setattr(Fake, "relight", full)
    with pytest.raises(LakeError, match="is full"):
        run(worker(tmp_path), cell)


def test_a_row_is_read_as_it_was_written_and_a_damaged_one_is_none(tmp_path: Path) -> None:
    places = Places(tmp_path)
    (cell,) = cells_of(tmp_path, 1)
    row = generate(Fake(), cell, places, tmp_path / "tmp")
    path = row.write(places)
    assert Row.read(places, cell.id) == row
    assert str(tmp_path) not in path.read_text()  # a lake may be moved
    path.write_text(path.read_text().replace('"done"', '"fail"'))
    assert Row.read(places, cell.id) is None
    path.write_text("[]")
    assert Row.read(places, cell.id) is None


def test_a_row_stands_while_making_it_again_would_change_nothing(tmp_path: Path) -> None:
    (cell,) = cells_of(tmp_path, 1)
    done = generate(Fake(), cell, Places(tmp_path), tmp_path / "tmp")
    lacking = failed(cell, "no weights", outcome="unavailable")
    rows = (done, failed(cell, "no face"), lacking)
    assert [row.stands(retry=False) for row in rows] == [True, True, False]
    assert [row.stands(retry=True) for row in rows] == [True, False, False]
    assert done.film
    done.film.path.unlink()
    assert not done.stands(retry=False)


def test_a_reason_is_never_empty_nor_endless(tmp_path: Path) -> None:
    (cell,) = cells_of(tmp_path, 1)
    assert failed(cell, " ").reason == "no reason was given"
    assert len(failed(cell, "x" * 10_000).reason) < 2_100


def test_values_do_not_depend_on_how_frames_are_batched(tmp_path: Path) -> None:
    film = fakes.subject(tmp_path, 1, 7).film
    extractors = [Sums(2.0), Sums(0.5)]
    wanted = measure(film, extractors, 1).features
    for batch in (2, 3, 7, 64):
        found = measure(film, extractors, batch).features
        for digest, features in wanted.items():
            assert found[digest]["sums"].tobytes() == features["sums"].tobytes()


def test_an_extractor_that_raises_costs_its_own_features_only(tmp_path: Path) -> None:
    film = fakes.subject(tmp_path, 1).film
    bad, writes, good = Sums(1.0, "raises"), Sums(3.0, "writes"), Sums(2.0)
    found = measure(film, [bad, writes, good])
    assert [*found.features] == [good.digest]
    assert found.failures[bad.digest] == "RuntimeError: no such operator"
    assert "read-only" in found.failures[writes.digest]
    alone = measure(film, [good]).features[good.digest]
    assert np.array_equal(found.features[good.digest]["sums"], alone["sums"])


def test_features_of_a_damaged_film_do_not_count(tmp_path: Path) -> None:
    film = fakes.subject(tmp_path, 1).film
    film.path.write_bytes(fakes.subject(tmp_path, 2).film.path.read_bytes())
    with pytest.raises(DamagedFilm):
        measure(film, [Sums()])


NUMBERS = st.sampled_from(["float32", "float64", "int64", "uint8", "bool", "complex64"])


@settings(max_examples=30, deadline=None)
@given(kind=NUMBERS, shape=st.lists(st.integers(0, 4), max_size=3), seed=st.integers(0, 9))
def test_features_are_kept_bit_by_bit(
    tmp_path_factory: pytest.TempPathFactory, kind: str, shape: list[int], seed: int
) -> None:
    cache = FeatureCache(tmp_path_factory.mktemp("features"))
    array = np.asarray(np.random.default_rng(seed).normal(size=shape) * 50).astype(kind)
    features = {"one": array, "two": np.array([np.nan, np.inf])}
    cache.store("f", "e", features)
    found = cache.load("f", "e")
    assert found is not None
    assert found["one"].dtype == array.dtype
    assert found["one"].shape == array.shape
    assert found["one"].tobytes() == array.tobytes()
    assert np.isnan(found["two"][0])


def test_features_are_found_for_their_film_and_extractor_alone(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path / "new")
    assert cache.load("f", "e") is None
    cache.store("f", "e", {"a": np.ones(3)})
    assert cache.load("f", "other") is cache.load("other", "e") is None
    once = cache.path("f", "e").read_bytes()
    cache.store("f", "e", {"a": np.ones(3)})
    assert cache.path("f", "e").read_bytes() == once


@pytest.mark.parametrize("where", [0.0, 0.3, 0.5, 0.7, 0.95])
@pytest.mark.parametrize("cut", [False, True])
def test_damaged_features_count_as_none(tmp_path: Path, where: float, cut: bool) -> None:
    cache = FeatureCache(tmp_path)
    cache.store("f", "e", {"a": np.arange(64.0), "b": np.arange(64.0)})
    path = cache.path("f", "e")
    data = bytearray(path.read_bytes())
    at = int(where * len(data))
    data[at] ^= 0x10
    path.write_bytes(data[:at] if cut else data)
    found = cache.load("f", "e")
    # A bit in the padding of the archive's own headers harms nobody.
    assert found is None or np.array_equal(found["a"], np.arange(64.0))
    assert not cut or found is None


def test_pickles_are_not_read(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    np.savez(cache.path("f", "e"), seal=np.array([{"a": 1}], object))
    assert cache.load("f", "e") is None


def test_what_is_there_is_not_made_again(tmp_path: Path) -> None:
    log = tmp_path / "log"
    (cell,) = cells_of(tmp_path, 1)
    first = run(worker(tmp_path, log=str(log)), cell)
    assert (first["generated"], first["measured"]) == (True, 1)
    before = files(tmp_path / "cells") | files(tmp_path / "features")
    again = run(worker(tmp_path, log=str(log)), cell)
    assert (again["generated"], again["measured"]) == (False, 0)
    assert log.read_text().split() == ["setup", "relight"]
    assert files(tmp_path / "cells") | files(tmp_path / "features") == before


def test_another_metric_makes_no_film_again_and_looks_only_for_its_own(tmp_path: Path) -> None:
    (cell,) = cells_of(tmp_path, 1)
    run(worker(tmp_path), cell)
    before = files(tmp_path / "features")
    answer = run(worker(tmp_path, [fakes.metric(), fakes.metric(power=1.5)]), cell)
    assert (answer["generated"], answer["measured"]) == (False, 1)
    after = files(tmp_path / "features")
    assert before.items() <= after.items()
    assert len(after) == len(before) + 1


def test_models_are_loaded_once_a_worker(tmp_path: Path) -> None:
    log = tmp_path / "log"
    busy = worker(tmp_path, log=str(log))
    for cell in cells_of(tmp_path, 3):
        run(busy, cell)
    assert log.read_text().split().count("setup") == 1


def test_a_failed_method_tries_again_only_where_it_is_asked_to(tmp_path: Path) -> None:
    log = tmp_path / "log"
    (cell,) = cells_of(tmp_path, 1, way="crashes")
    for retry in (False, False, True):
        run(worker(tmp_path, retry=retry, way="crashes", log=str(log)), cell)
    assert log.read_text().split().count("relight") == 2


@pytest.mark.parametrize("damage", ["gone", "torn"])
def test_a_film_that_was_lost_is_made_again(tmp_path: Path, damage: str) -> None:
    (cell,) = cells_of(tmp_path, 1)
    places = Places(tmp_path)
    film = places.film(run(worker(tmp_path), cell)["film"])
    whole = film.read_bytes()
    film.unlink() if damage == "gone" else film.write_bytes(whole[:99])
    answer = run(worker(tmp_path, [fakes.metric(power=3.0)]), cell)
    assert (answer["generated"], answer["outcome"]) == (True, "done")
    assert film.read_bytes() == whole


def test_an_extractor_s_failure_is_told(tmp_path: Path) -> None:
    (cell,) = cells_of(tmp_path, 1)
    answer = run(worker(tmp_path, [fakes.metric(way="raises")]), cell)
    assert answer["outcome"] == "done"
    assert answer["failures"] == {"sums": "RuntimeError: no such operator"}


def test_an_extractor_that_cannot_be_set_up_costs_its_own_features_only(tmp_path: Path) -> None:
    (cell,) = cells_of(tmp_path, 1)
    metrics = [fakes.metric(power=3.0, way="setup"), fakes.metric()]
    answer = run(worker(tmp_path, metrics), cell)
    assert answer["failures"] == {"sums": "it could not be set up: ImportError: no such package"}
    assert len(files(tmp_path / "features")) == 1


def test_a_lost_cell_is_tried_again_unless_its_method_died_over_it(tmp_path: Path) -> None:
    notes: list[str] = []
    (cell,) = cells_of(tmp_path, 1)
    worker(tmp_path).run({"cell": cell.to_json()}, notes.append)
    assert notes == ["set up fake", "generate fake clip 0", "measure fake clip 0"]

    def outcome(kind: Kind, note: str) -> str:
        return lost_outcome(Lost(cell.id, kind, "", "", "", note, "", 1.0))

    assert outcome("died", notes[0]) == outcome("memory", notes[1]) == "unavailable"
    assert outcome("died", notes[1]) == outcome("hung", notes[1]) == "failed"


def test_another_machine_s_method_is_refused(tmp_path: Path) -> None:
    (cell,) = cells_of(tmp_path, 1)
    with pytest.raises(UsageError, match="is another method"):
        run(worker(tmp_path, add=2), cell)


def test_given_films_are_looked_at_once_for_all_their_roles(tmp_path: Path) -> None:
    target = fakes.light(5, film=True, root=tmp_path)
    drivers = [fakes.subject(tmp_path, seed) for seed in (1, 2)]
    cases = [Case("relight", each, None, light) for each in drivers for light in (target,) * 2]
    given = inputs(cases)
    assert len(given) == 3
    assert sorted(each.roles for each in given) == [("driving", "reference")] * 2 + [("target",)]
    busy = worker(tmp_path)
    measured = [busy.run(each.to_json(), lambda words: None)["measured"] for each in given]
    assert sum(measured) == 2  # the metric does not ask for targets
    assert {item_id(each.to_json()) for each in given} == {each.film.digest for each in given}


def test_a_cell_s_features_come_together_by_role(tmp_path: Path) -> None:
    (cell,) = cells_of(tmp_path, 1)
    busy = worker(tmp_path)
    run(busy, cell)
    places, cache = Places(tmp_path), FeatureCache(tmp_path / "features")
    row = Row.read(places, cell.id)
    assert row
    found = case_features(cell, row, cache, Brightness())
    assert [*found.found] == ["output"]  # nobody looked at the driving clip yet
    (given,) = inputs([cell.case])
    busy.run(given.to_json(), lambda words: None)
    found = case_features(cell, row, cache, Brightness())
    assert sorted(found.found) == ["driving", "output"]
    assert np.array_equal(found.light, cell.light.coefficients)  # type: ignore[union-attr, arg-type]
    assert found.facts["seconds_per_frame"] == row.seconds_per_frame
    assert len(Brightness().frames(found)) == 5


def spec(root: Path, batch: int) -> WorkerSpec:
    arguments = {
        "root": str(root),
        "scratch": str(root / "tmp"),
        "methods": {"fake": fakes.method()},
        "metrics": [fakes.metric(), fakes.metric(power=0.5)],
        "batch": batch,
    }
    return WorkerSpec(FACTORY, arguments)


def items_of(root: Path, seed: int) -> list[Item]:
    cells = cells_of(root, 6)
    given = [each.to_json() for each in inputs(cell.case for cell in cells)]
    payloads = [*given, *({"cell": cell.to_json()} for cell in cells)]
    random.Random(seed).shuffle(payloads)
    return [Item(item_id(each), each) for each in payloads]


def made(root: Path) -> dict[str, bytes]:
    return files(root / "films") | files(root / "features")


def test_values_are_the_same_in_any_order_by_any_number_of_workers_in_or_out_of_process(
    tmp_path: Path,
) -> None:
    one, many, outside = (tmp_path / name for name in ("one", "many", "outside"))
    for root, shards in ((one, 1), (many, 3)):
        items = items_of(root, seed=shards)
        for number in range(shards):
            with InlineEngine() as engine:
                pool = engine.pool("cells", spec(root, batch=shards), Resources())
                assert all(isinstance(each, Done) for each in pool.run(items[number::shards]))

    def hand(name: str) -> Hand:
        return LocalHand(name, spec(outside, batch=5), tmp_path, 0)

    workers = WorkerPool(Claim("cells", {}, Ledger({})), 2, window_bytes=1 << 30, make=hand)
    results = list(workers.run(items_of(outside, seed=5)))
    workers.close()
    assert sum(isinstance(each, Done) for each in results) == 12
    assert len(made(one)) == 12 + 24
    assert made(one) == made(many) == made(outside)


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    places = Places(tmp_path)
    film = keep_film(places.films, fakes.pictures(1), fakes.subject(tmp_path, 1).film.fps)
    (places.films / ".half.tmp").write_bytes(b"half")
    assert places.sweep(before=0) == 0
    assert places.sweep(before=2**40) == 1
    assert film.path.is_file()


def test_extractors_of_one_digest_look_once(tmp_path: Path) -> None:
    class Counting(Sums):
        starts = 0

        def start(self, frames: int, size: int):
            type(self).starts += 1
            return super().start(frames, size)

    twins: list[Extractor] = [Counting(), Counting()]
    measure(fakes.subject(tmp_path, 1).film, twins)
    assert Counting.starts == 1
