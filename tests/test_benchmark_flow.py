"""A benchmark from end to end, without Prefect and Ray: what is done, once, and what is told."""

import json
import os
import sys
from multiprocessing import get_context
from pathlib import Path

import pytest
from PIL import Image
from skimage.data import astronaut

from catalog.lake import Lake
from evaluation.protocols.read import load_protocol
from evaluation.records.compare import compare
from evaluation.records.record import read_record
from flows.benchmark_order import BenchmarkOrder
from flows.benchmarker import Benchmark, CalledOffError
from flows.benchmarks import benchmark_folder, find_record
from flows.entrants import Entrant, entrants, parse_entrants
from flows.findings import worse
from flows.scores import Scores
from infra.engine.base import Lost
from infra.engine.inline import InlineEngine
from infra.errors import UsageError

METRICS = ("background_psnr", "light_error")
SIZE, FRAMES = 64, 3

COPY_BY_HAND = """
import json, pathlib, shutil, sys
driving, light, output, log = sys.argv[1:]
with open(log, "a") as file:
    file.write(json.load(open(light))["name"] + "\\n")
for picture in sorted(pathlib.Path(driving).iterdir()):
    shutil.copy(picture, output)
"""


def program(folder: Path, text: str = COPY_BY_HAND, **more) -> Entrant:
    """A command that copies frames, and writes down each light that it was asked for."""
    script, log = folder / "copies.py", folder / "log"
    script.write_text(text)
    argv = [sys.executable, str(script), "{driving}", "{light_json}", "{output}", str(log)]
    return Entrant(method="command", options={"argv": argv, "driving": "pictures", **more})


@pytest.fixture(scope="session")
def portraits(tmp_path_factory) -> Path:
    """Two pictures of two people."""
    from matplotlib import get_data_path

    folder = tmp_path_factory.mktemp("portraits")
    Image.fromarray(astronaut()[:320, 60:380]).save(folder / "eileen.png")
    with Image.open(Path(get_data_path()) / "sample_data" / "grace_hopper.jpg") as picture:
        picture.convert("RGB").crop((0, 0, 512, 512)).resize((320, 320)).save(folder / "grace.png")
    return folder


def order(source: Path, methods, metrics=METRICS, lights=("left", "right"), **more):
    protocol = load_protocol(
        "demo",
        [
            f"source.folder={source}",
            f"size={SIZE}",
            f"cut.repeat={FRAMES}",
            "cut.shortest=1",
            f"lights.presets={json.dumps(lights)}",
        ],
    )
    return BenchmarkOrder("small", protocol, methods, metrics, **more)


def benchmark(lake: Path, asked: BenchmarkOrder, run: str = "run", engine=InlineEngine):
    return Benchmark(Lake.open(lake, create=True), asked, engine, run)


def no_engine():
    raise AssertionError("nothing was to be done")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, portraits):
    """A benchmark of `copy` and of a program, whole: its lake, order and ending."""
    folder = tmp_path_factory.mktemp("whole")
    asked = order(portraits, {"copy": Entrant(method="copy"), "other": program(folder)})
    return folder, asked, benchmark(folder / "lake", asked).all()


def test_every_method_makes_every_clip_under_every_light(whole):
    _, _, run = whole
    record = read_record(Path(run.record))
    assert run.cells == {"made": 8, "there before": 0, "failed": 0, "unavailable": 0}
    assert {(cell.method, cell.light) for cell in record.cells} == {
        (method, light) for method in ("copy", "other") for light in ("left", "right")
    }
    assert len(record.clips) == 2
    assert all(cell.outcome == "done" for cell in record.cells)
    assert all(cell.values["background_psnr"] is not None for cell in record.cells)


def test_the_folder_holds_the_report_in_every_form_and_films_to_be_played(whole):
    folder, _, _ = whole
    root = benchmark_folder(Lake.open(folder / "lake"), "small").root
    names = {path.name for path in root.iterdir()}
    assert names == {
        *("protocol.toml", "record.json", "study.json", "videos"),
        *(f"report.{ending}" for ending in ("html", "md", "tex", "csv")),
    }
    record = read_record(root / "record.json")
    for path in {cell.video for cell in record.cells} | {clip.video for clip in record.clips}:
        assert (root / path).stat().st_size > 0
    assert load_protocol(root / "protocol.toml").size == SIZE


def test_a_second_run_does_nothing_and_writes_the_same_bytes(whole):
    folder, asked, run = whole
    before = {
        path: path.read_bytes() for path in Path(run.record).parent.rglob("*") if path.is_file()
    }
    again = benchmark(folder / "lake", asked, "again", engine=no_engine).all()
    assert again.cells == {"made": 0, "there before": 8, "failed": 0, "unavailable": 0}
    assert {path: path.read_bytes() for path in before} == before


def test_another_method_costs_nothing_of_those_before(whole, tmp_path):
    folder, asked, _ = whole
    log = folder / "log"
    lines = log.read_text()
    more = {**asked.methods, "third": program(tmp_path)}
    run = benchmark(folder / "lake", order(Path(asked.protocol.source.folder), more)).all()
    assert run.cells["made"] == 4
    assert log.read_text() == lines
    assert (tmp_path / "log").read_text().count("left") == 2


def test_another_metric_asks_no_method_again(whole):
    folder, asked, _ = whole
    lines = (folder / "log").read_text()
    source = Path(asked.protocol.source.folder)
    run = benchmark(folder / "lake", order(source, asked.methods, (*METRICS, "pose"))).all()
    assert run.cells["made"] == 0
    assert (folder / "log").read_text() == lines
    assert {"pose", "background_psnr"} <= {m.name for m in read_record(Path(run.record)).metrics}


BREAKS = {
    "raises": ("raise ValueError('too dark')", "too dark"),
    "kills itself": ("import os; os.kill(os.getpid(), 9)", "signal 9"),
    "hangs": ("import time; time.sleep(60)", "did not end within"),
    "makes nothing": ("", "no pictures"),
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory, portraits):
    """A benchmark of `copy`, of programs that break, and of a method that is not here."""
    folder = tmp_path_factory.mktemp("broken")
    methods = {"copy": Entrant(method="copy")}
    for name, (text, _) in BREAKS.items():
        (folder / name).mkdir()
        limit = {"seconds": 1.5} if name == "hangs" else {}
        methods[name] = program(folder / name, text, **limit)
    methods["absent"] = Entrant(method="lcvd", options={"model": "nobody trained it"})
    run = benchmark(folder / "lake", order(portraits, methods, lights=["left"])).all()
    return read_record(Path(run.record)), run


@pytest.mark.parametrize("name", BREAKS)
def test_a_method_that_breaks_costs_its_own_rows_which_say_why(broken, name):
    record, _ = broken
    rows = [cell for cell in record.cells if cell.method == name]
    assert [cell.outcome for cell in rows] == ["failed"] * 2
    assert all(BREAKS[name][1] in cell.reason for cell in rows), rows[0].reason
    assert all(cell.outcome == "done" for cell in record.cells if cell.method == "copy")


class Losing(InlineEngine):
    """An engine whose workers die of all that a method is asked for."""

    def pool(self, name, spec, resources, size=None):
        self.inner = super().pool(name, spec, resources, size)
        return self.inner if name == "cuts" else self

    def run(self, items, *, cancelled=lambda: False):
        for item in items:
            if "cell" in item.payload:
                yield Lost(item.id, "died", "SIGSEGV", "", "", "generate copy", "cells-0", 1.0)
            else:
                yield from self.inner.run([item], cancelled=cancelled)


def test_cells_whose_worker_died_fail_with_what_it_was_at_and_can_be_tried_again(
    portraits, tmp_path
):
    methods = {"copy": Entrant(method="copy")}
    lost = benchmark(tmp_path, order(portraits, methods), engine=Losing).all()
    assert lost.cells["failed"] == 4
    reasons = {cell.reason for cell in read_record(Path(lost.record)).cells}
    assert reasons == {"its process died: SIGSEGV (at: generate copy)"}
    kept = benchmark(tmp_path, order(portraits, methods), engine=no_engine).all()
    assert kept.cells["failed"] == 4
    again = benchmark(tmp_path, order(portraits, methods, retry=True)).all()
    assert again.cells["made"] == 4


def test_a_film_that_is_lost_and_cannot_be_made_again_is_no_film(portraits, tmp_path):
    asked = order(portraits, {"ratio": Entrant(method="ratio")}, lights=["left"])
    run = benchmark(tmp_path, asked).all()
    for cell in read_record(Path(run.record)).cells:
        (tmp_path / "benchmarks" / "films" / f"{cell.output}.mkv").unlink()
    lost = benchmark(tmp_path, asked, engine=Losing).all()
    assert (lost.cells["made"], lost.cells["failed"]) == (0, 2)


class Blinding(Losing):
    """An engine whose workers die of the originals, too."""

    def run(self, items, *, cancelled=lambda: False):
        for item in items:
            if "cell" in item.payload:
                yield from self.inner.run([item], cancelled=cancelled)
            else:
                yield Lost(item.id, "hung", "Hung", "", "", "measure", "cells-0", 1.0)


def test_a_worker_that_is_lost_over_an_original_is_named_where_its_values_are_missing(
    portraits, tmp_path
):
    # What `copy` makes is the original itself, and looked at as its film.
    asked = order(portraits, {"ratio": Entrant(method="ratio")}, lights=["left"])
    run = benchmark(tmp_path, asked, engine=Blinding).all()
    for cell in read_record(Path(run.record)).cells:
        assert cell.values["background_psnr"] is None
        assert "it hung, and was ended" in cell.missing["background_psnr"]


def test_a_step_that_is_retried_counts_its_cells_once():
    scores = Scores()
    scores.name(["copy"])
    for made in (True, False):
        scores.begin("judging copy", 1)
        scores.cell("copy", "a cell", "done", made=made)
    assert scores.counts() == {"made": 1, "there before": 0, "failed": 0, "unavailable": 0}


def test_a_record_on_other_clips_is_written_over_only_where_asked(whole):
    folder, asked, run = whole
    before = Path(run.record).read_bytes()
    source = Path(asked.protocol.source.folder)
    other = order(source, asked.methods, lights=["left"])
    with pytest.raises(UsageError, match="by another protocol"):
        benchmark(folder / "lake", other, engine=no_engine).all()
    assert Path(run.record).read_bytes() == before


def test_a_method_that_is_gone_is_lost_and_no_common_case_is_no_comparison(whole):
    record = read_record(Path(whole[2].record))
    cells = tuple(cell for cell in record.cells if cell.method == "copy")
    methods = tuple(method for method in record.methods if method.name == "copy")
    fewer = record.model_copy(update={"cells": cells, "methods": methods})
    assert worse(compare(record, fewer)) == ["other: it is not judged any more"]
    others = [cell.model_copy(update={"case": cell.case + "x"}) for cell in record.cells]
    strange = record.model_copy(update={"cells": tuple(others)})
    (line,) = worse(compare(record, strange))
    assert line.startswith("nothing could be held against")


def test_one_name_is_run_by_one_at_a_time(portraits, tmp_path):
    asked = order(portraits, {"copy": Entrant(method="copy")})
    first, second = (benchmark(tmp_path, asked, run) for run in ("first", "second"))
    with first.hold(), pytest.raises(UsageError, match="being run already"), second.hold():
        pass


def test_clips_are_cut_until_somebody_calls_it_off(portraits, tmp_path):
    asked = order(portraits, {"copy": Entrant(method="copy")})
    called_off = Benchmark(
        Lake.open(tmp_path, create=True), asked, InlineEngine, "run", cancelled=lambda: True
    )
    called_off.check()
    with pytest.raises(CalledOffError):
        called_off.cut()


def test_a_benchmark_of_which_nothing_can_come_is_not_begun(portraits, tmp_path):
    absent = Entrant(method="lcvd", options={"model": "nobody trained it"})
    with pytest.raises(UsageError, match="none of the methods"):
        benchmark(tmp_path, order(portraits, {"lcvd": absent}), engine=no_engine).all()


def test_a_method_that_is_not_here_says_so(broken):
    record, run = broken
    assert "nobody trained it" in run.unavailable["absent"]
    rows = [cell for cell in record.cells if cell.method == "absent"]
    assert [cell.outcome for cell in rows] == ["unavailable"] * 2
    assert all("nobody trained it" in cell.reason for cell in rows)


def test_a_worse_record_is_said_to_be(whole):
    folder, asked, run = whole
    record = read_record(Path(run.record))
    cells = [
        cell.model_copy(update={"values": {**cell.values, "background_psnr": 70.0}})
        for cell in record.cells
    ]
    better = record.model_copy(update={"cells": tuple(cells)})
    again = order(Path(asked.protocol.source.folder), asked.methods, before=better)
    found = benchmark(folder / "lake", again, "worse", engine=no_engine).all()
    assert any(line.startswith("copy, background_psnr") for line in found.worse)


def crashed(lake: str, source: str, fault: str) -> None:
    """In a process of its own: run until the fault."""
    os.environ["LIMELIGHT_FAULT"] = fault
    benchmark(Path(lake), order(Path(source), {"copy": Entrant(method="copy")})).all()


@pytest.mark.parametrize(
    "point",
    [
        "benchmark.subject.rename.after",
        "benchmark.features.rename.before#2",
        "benchmark.row.rename.before",
        "benchmark.row.rename.after#2",
        "record.rename.before",
    ],
)
def test_killed_anywhere_and_run_again_it_ends_with_the_same_report(
    whole, portraits, tmp_path, point
):
    context = get_context("forkserver")
    context.set_forkserver_preload(["flows.benchmarker"])
    child = context.Process(
        target=crashed, args=(str(tmp_path / "lake"), str(portraits), f"kill@{point}")
    )
    child.start()
    child.join(60)
    assert child.exitcode == -9
    asked = order(portraits, {"copy": Entrant(method="copy")})
    run = benchmark(tmp_path / "lake", asked).all()
    assert told(read_record(Path(run.record))) == told(read_record(Path(whole[2].record)))


def told(record) -> object:
    """What a record says of `copy`, but for what its generation cost."""
    cells = [cell.model_dump() for cell in record.cells if cell.method == "copy"]
    for cell in cells:
        del cell["seconds_per_frame"], cell["peak_bytes"]
    return json.loads(json.dumps([cells, [c.model_dump() for c in record.clips]], sort_keys=True))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"source.folder": "nowhere"}, "nowhere"),
        ({"source.folder": ""}, "whose clips"),
        ({"cut.min_face": 4000}, "no clip"),
    ],
)
def test_a_protocol_with_nothing_to_judge_ends_in_a_clear_error(portraits, tmp_path, change, words):
    values = {"source.folder": str(portraits), "size": SIZE, **change}
    protocol = load_protocol("demo", [f"{key}={value}" for key, value in values.items()])
    asked = BenchmarkOrder("empty", protocol, {"copy": Entrant(method="copy")}, METRICS)
    with pytest.raises(UsageError, match=words):
        benchmark(tmp_path / "lake", asked).all()


def test_methods_and_options_are_read_from_a_command_line():
    found = parse_entrants(["copy", "ours=lcvd"], ["ours.guidance=3", "ours.model=a run"])
    assert found == {
        "copy": Entrant(method="copy"),
        "ours": Entrant(method="lcvd", options={"guidance": 3, "model": "a run"}),
    }


@pytest.mark.parametrize(
    ("methods", "options", "words"),
    [
        (["copy", "copy"], [], "two methods"),
        (["copy"], ["lcvd.guidance=3"], "not judged"),
        (["lcvd"], ["lcvd.guidance"], "no override"),
    ],
)
def test_what_cannot_be_meant_is_refused(methods, options, words):
    with pytest.raises(UsageError, match=words):
        parse_entrants(methods, options)


def test_an_ablation_judges_every_variant_and_knows_what_varies():
    protocol = load_protocol("ablation-guidance")
    found = entrants(protocol, {})
    assert list(found) == list(protocol.variants)
    assert found["guidance 3"].factors == {"guidance": 3.0}
    assert found["guidance 3"].options == {"guidance": 3.0}
    two = entrants(protocol, parse_entrants(["a=lcvd", "b=lcvd"], ["a.steps=5"]))
    assert two["a, guidance 1"].options == {"steps": 5, "guidance": 1.0}


def test_a_benchmark_is_found_by_name_folder_or_file(whole, tmp_path):
    folder, _, run = whole
    path = Path(run.record)
    for said in ("small", str(path), str(path.parent)):
        assert find_record(folder / "lake", said) == path
    with pytest.raises(UsageError, match="there are small"):
        find_record(folder / "lake", "large")
    with pytest.raises(UsageError, match="no benchmark"):
        find_record(tmp_path / "none", "large")
