"""From rows and features to a record, whatever is missing."""

import math
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import pytest

from evaluation.cells.cache import FeatureCache
from evaluation.cells.cell import Case, Cell, LightTarget, plan
from evaluation.cells.places import Places
from evaluation.cells.rows import Row, about, failed
from evaluation.metrics.base import MetricInfo, SetMetric, SetValue, Statistics
from evaluation.protocols.cases import Prepared
from evaluation.protocols.lossless import Film, keep_film
from evaluation.protocols.sources import LeftOut
from evaluation.protocols.tables import LightsTable, Protocol
from evaluation.records.assemble import assemble
from evaluation.records.facts import MethodFacts, Provenance
from evaluation.records.record import Record
from tests import bench_fakes as fakes
from tests.bench_fakes import Brightness, Sums

METHODS = {"first": "1" * 16, "second": "2" * 16}
LOOK = Sums().digest


class Total(Statistics):
    """A sum that remembers how many films it is of."""

    def __init__(self, total, films=1):
        self.total, self.films = total, films

    def merged(self, other):
        return Total(self.total + other.total, self.films + other.films)


class Gap(SetMetric):
    """Difference of the sums of all outputs and of all driving films."""

    def __init__(self, least=0, worth=None):
        self._least, self._worth = least, worth

    @property
    def info(self):
        return MetricInfo("gap", "Gap", False, "", (0, np.inf), "a sum", "standard", "A gap.")

    def extractors(self):
        return {"output": Sums(), "driving": Sums()}

    def statistics(self, features):
        return Total(float(features["sums"].sum()))

    def value(self, outputs, reals):
        if outputs.films < self._least:
            raise ValueError(f"{outputs.films} films are too few; {self._least} are needed")
        value = outputs.total - reals.total if self._worth is None else self._worth
        return SetValue(value, outputs.films, reals.films, "")


class Named(Brightness):
    """A metric under a name of one's choice, that asks for features as ours do."""

    def __init__(self, name="sum", power=2.0):
        super().__init__(power)
        self._name = name

    @property
    def info(self):
        return replace(super().info, name=self._name)

    def frames(self, case):
        return case.of("output", "sums")["sums"]


@dataclass
class Bench:
    """A lake with films, and whatever rows and features a test puts there."""

    places: Places
    cells: list[Cell]

    def done(self, cell, sums=(1.0, 2.0, 3.0), film=None, called=None):
        """A row of a made-up film, and the features of it."""
        film = film or Film(self.places.film(cell.id), f"film of {cell.id}", 5, 16, Fraction(25))
        facts = about(called or cell)
        Row(cell.id, facts, "done", "", film, 0.25, 1 << 20).write(self.places)
        if sums is not None:
            self.look(film.digest, sums)

    def look(self, film, sums):
        features = {"sums": np.array(sums, np.float64)}
        FeatureCache(self.places.features).store(film, LOOK, features)

    def cell(self, method, case):
        return next(c for c in self.cells if (c.method, c.case.id) == (method, case.id))

    def record(self, **changes) -> Record:
        given = {
            "name": "bench",
            "prepared": prepared(self.cells),
            "cells": self.cells,
            "methods": [MethodFacts(name=name, digest=told) for name, told in METHODS.items()],
            "metrics": [Brightness()],
            "places": self.places,
            "video": lambda film: f"videos/{film.digest[:8]}.mp4",
            "picture": lambda light: f"lights/{light.name}.png",
            "failures": {},
            "left_out_metrics": {},
            "provenance": Provenance(seeds={"protocol": 0}),
        }
        return assemble(**given | changes)


def prepared(cells, **settings):
    lights = LightsTable(presets=("left",))
    protocol = Protocol(name="tiny", size=64, lights=lights, title="Tiny", **settings)
    cases = {cell.case.id: cell.case for cell in cells}.values()
    subjects = {case.subject.id: case.subject for case in cases}.values()
    left_out = (LeftOut("a.mp4", "too short"), LeftOut("a.mp4", "no face"))
    origin = {"release": "people", "version": "1.0", "digest": "ab"}
    return Prepared(protocol, tuple(subjects), tuple(cases), left_out, origin)


def bench(root, cases):
    return Bench(Places(root), plan(METHODS, cases))


@pytest.fixture
def clips(tmp_path):
    """Two clips under one light, done by both methods."""
    made = bench(tmp_path, [fakes.case(tmp_path, 0), fakes.case(tmp_path, 1)])
    for cell in made.cells:
        made.done(cell)
        made.look(cell.subject.id, [1.0])
    return made


def test_a_record_tells_all_that_was_asked_for_and_found(clips):
    record = clips.record(left_out_metrics={"fid": "torch is missing"})
    assert Record.model_validate_json(record.text()) == record
    protocol = record.protocol
    assert (protocol.title, protocol.size, protocol.source) == ("Tiny", 64, "people 1.0")
    assert protocol.left_out == {"a.mp4": "too short; no face"}
    assert protocol.settings["lights"]["presets"] == ["left"]
    assert record.unmeasured == {"fid": "torch is missing"}
    assert record.provenance.seeds == {"protocol": 0}
    assert [clip.name for clip in record.clips] == ["clip 0", "clip 1"]
    assert [(cell.method, record.clip(cell.clip).name) for cell in record.cells] == [
        (method, clip) for method in METHODS for clip in ("clip 0", "clip 1")
    ]
    cell = record.cells[0]
    assert cell.values == {"sum": 2.0}
    assert (cell.outcome, cell.seconds_per_frame, cell.peak_bytes) == ("done", 0.25, 1 << 20)
    assert cell.video.startswith("videos/")
    assert (record.metrics[0].grade, record.metrics[0].range) == ("embedded", (0.0, None))


def test_the_order_of_cells_changes_nothing(clips):
    wanted = clips.record(metrics=[Brightness(), Gap()]).text()
    clips.cells.reverse()
    assert clips.record(metrics=[Brightness(), Gap()]).text() == wanted


def test_a_cell_that_was_never_run_says_so(clips):
    clips.places.row(clips.cells[0].id).unlink()
    record = clips.record()
    found = next(cell for cell in record.cells if cell.id == clips.cells[0].id)
    assert (found.outcome, found.reason, found.values) == ("failed", "it was not run", {})


def test_a_failed_cell_keeps_its_reason_and_has_no_values(clips):
    failed(clips.cells[0], "it is too dark").write(clips.places)
    failed(clips.cells[1], "no weights", outcome="unavailable").write(clips.places)
    told = {cell.id: (cell.outcome, cell.reason, cell.values) for cell in clips.record().cells}
    assert told[clips.cells[0].id] == ("failed", "it is too dark", {})
    assert told[clips.cells[1].id] == ("unavailable", "no weights", {})


def test_rows_made_under_other_names_tell_those_of_this_run(clips):
    cell = clips.cells[0]
    told = cell.case.to_json()
    told["subject"]["name"] = told["light"]["name"] = "before"
    clips.done(cell, called=Cell("before", cell.method_digest, Case.from_json(told)))
    assert "before" not in clips.record().text()


def test_features_that_were_never_found_leave_no_value_and_a_reason(clips):
    cell = clips.cells[0]
    clips.done(cell, sums=None, film=Film(clips.places.film("x"), "x", 5, 16, Fraction(25)))
    record = clips.record(metrics=[Named()])
    found = next(each for each in record.cells if each.id == cell.id)
    assert found.values == {"sum": None}
    assert found.missing == {"sum": "sums found nothing in the output film"}
    failures = {cell.id: {"sums": "RuntimeError: no such operator", "other": "not asked"}}
    found = next(each for each in clips.record(failures=failures).cells if each.id == cell.id)
    assert found.missing == {"sum": "sums: RuntimeError: no such operator"}


def test_what_failed_in_a_driving_film_is_told_of_its_cells(clips):
    class Lacking(Brightness):
        def frames(self, case):
            return case.found["driving"]["missing"]["sums"]

    driver = clips.cells[0].subject.id
    record = clips.record(metrics=[Lacking()], failures={driver: {"sums": "no face"}})
    told = {cell.missing["sum"] for cell in record.cells if cell.clip == driver}
    assert told == {"sums: no face"}
    told = {cell.missing["sum"] for cell in record.cells if cell.clip != driver}
    assert told == {"the feature 'missing' is missing"}


def test_a_clip_s_features_are_read_once_for_all_methods(clips, monkeypatch):
    read, load = [], FeatureCache.load
    monkeypatch.setattr(
        FeatureCache, "load", lambda self, *key: read.append(key) or load(self, *key)
    )
    clips.record(metrics=[Named("one"), Named("other"), Named("third", power=3.0)])
    assert len(read) == len(set(read)) == 2 * (2 + 4)  # extractors; driving films and outputs


def test_a_metric_that_refuses_a_cell_is_quoted(clips):
    class Strict(Brightness):
        def frames(self, case):
            raise ValueError("4 frames of output, but 5 that drove it")

    for cell in clips.record(metrics=[Strict()]).cells:
        assert cell.missing == {"sum": "4 frames of output, but 5 that drove it"}


@pytest.mark.parametrize(
    ("sums", "value", "gaps", "missing"),
    [
        ((1.0, math.nan, 2.0, math.nan), 1.5, {"sum": 0.5}, {}),
        (
            (math.nan, math.nan),
            None,
            {},
            {"sum": "no frame of it has a value, as where no face is found"},
        ),
        ((1.0, math.inf), None, {}, {"sum": "a frame of it has an infinite value"}),
        ((1.0, 3.0), 2.0, {}, {}),
    ],
)
def test_frames_without_a_value_are_left_out_and_told(clips, sums, value, gaps, missing):
    clips.done(clips.cells[0], sums)
    found = next(each for each in clips.record().cells if each.id == clips.cells[0].id)
    assert (found.values, found.gaps, found.missing) == ({"sum": value}, gaps, missing)


def test_a_trace_is_the_mean_of_a_method_s_clips_at_each_frame(clips):
    first = [cell for cell in clips.cells if cell.method == "first"]
    clips.done(first[0], (1.0, 2.0))
    clips.done(first[1], (3.0, math.nan, 7.0))
    traces = {each.method: each.values for each in clips.record().traces}
    assert traces == {"first": [2.0, 2.0, 7.0], "second": [1.0, 2.0, 3.0]}


def test_a_metric_of_one_value_a_film_has_no_trace(clips):
    for cell in clips.cells:
        clips.done(cell, (4.0,))
    assert clips.record().traces == ()


def test_a_set_metric_counts_every_driving_film_once(tmp_path):
    driver = fakes.subject(tmp_path, 0)
    lights = [fakes.light(number) for number in range(3)]
    made = bench(tmp_path, [Case("relight", driver, None, light) for light in lights])
    for cell in made.cells:
        made.done(cell, (10.0,))
    made.look(driver.id, (1.0,))
    sets = made.record(metrics=[Gap()]).sets
    assert [(each.method, each.value, each.n, each.reals) for each in sets] == [
        ("first", 29.0, 3, 1),
        ("second", 29.0, 3, 1),
    ]
    assert {(each.low, each.high, each.warning) for each in sets} == {(None, None, "")}


def test_a_set_value_of_two_people_has_an_interval_inside_the_metric_s_range(clips):
    clips.done(clips.cells[0], (9.0, 9.0))
    for each in clips.record(metrics=[Gap()]).sets:
        assert 0 <= each.low <= each.value <= each.high
        assert each.draws == Gap.draws
    first, second = clips.record(metrics=[Gap()]).sets
    assert (first.low, second.low, second.high) == (0, 10, 10)  # the second's films are alike
    assert first.high > first.value + 10


def test_a_portrait_s_film_is_of_whom_it_shows(tmp_path):
    driver = fakes.subject(tmp_path, 0)
    portraits = [fakes.subject(tmp_path, seed, frames=1) for seed in (8, 9)]
    made = bench(tmp_path, [Case("animate", driver, portrait) for portrait in portraits])
    for cell in made.cells:
        made.done(cell, (10.0,))
    made.look(driver.id, (1.0,))
    alike = [replace(each, identity="person 0") for each in portraits]
    sets = made.record(metrics=[Gap()], prepared=prepared(made.cells, mode="animate")).sets
    assert all(each.low <= each.value == 19 <= each.high for each in sets)
    one = bench(tmp_path / "one", [Case("animate", driver, portrait) for portrait in alike])
    for cell in one.cells:
        one.done(cell, (10.0,))
    one.look(driver.id, (1.0,))
    sets = one.record(metrics=[Gap()], prepared=prepared(one.cells, mode="animate")).sets
    assert {(each.value, each.low, each.high) for each in sets} == {(19.0, None, None)}


def test_a_set_metric_says_what_is_not_in_it(clips):
    failed(clips.cell("first", clips.cells[0].case), "dark").write(clips.places)
    first, second = clips.record(metrics=[Gap()]).sets
    assert (first.n, first.warning) == (1, "1 of the 2 outputs asked for are not in it")
    assert (second.n, second.warning) == (2, "")


def test_too_few_films_give_no_set_value_but_say_how_many_are_needed(clips):
    for each in clips.record(metrics=[Gap(least=9)]).sets:
        assert (each.value, each.warning) == (None, "2 films are too few; 9 are needed")


@pytest.mark.parametrize("worth", [math.inf, math.nan])
def test_a_set_value_that_is_no_number_is_none(clips, worth):
    for each in clips.record(metrics=[Gap(worth=worth)]).sets:
        assert (each.value, each.n) == (None, 2)
        assert "no finite number" in each.warning


def test_a_method_that_could_not_run_has_no_set_values(clips):
    methods = [MethodFacts(name="first", unavailable="no weights"), MethodFacts(name="second")]
    sets = clips.record(metrics=[Gap()], methods=methods).sets
    assert [each.method for each in sets] == ["second"]


def test_a_light_by_name_is_one_light_though_clips_differ_in_brightness(tmp_path):
    dark, bright = (LightTarget("left", fakes.light(0).coefficients * k) for k in (1, 2))
    cases = [Case("relight", fakes.subject(tmp_path, n), None, (dark, bright)[n]) for n in (0, 1)]
    (light,) = bench(tmp_path, cases).record().lights
    assert (light.name, light.coefficients) == ("left", [])
    assert light.picture == "lights/left.png"
    (light,) = bench(tmp_path, cases[:1]).record().lights
    assert np.allclose(light.coefficients, dark.coefficients)


def test_two_faces_of_one_name_are_two_lights(tmp_path):
    driver, wanted = fakes.subject(tmp_path, 0), []
    for seed in (1, 2):
        face = keep_film(tmp_path / "films", fakes.pictures(seed, 1), Fraction(25))
        wanted.append(replace(fakes.light(0), name="Ann", film=face))
    wanted.append(replace(fakes.light(5), name="Ann (2)"))
    made = bench(tmp_path, [Case("relight", driver, None, light) for light in wanted])
    record = made.record()
    assert sorted(light.name for light in record.lights) == ["Ann", "Ann (2)", "Ann (3)"]
    assert len({cell.light for cell in record.cells}) == 3
    made.cells.reverse()
    assert made.record().text() == record.text()


def test_a_driven_portrait_brings_its_own_clip(tmp_path):
    portrait = fakes.subject(tmp_path, 9, frames=1)
    made = bench(tmp_path, [Case("animate", fakes.subject(tmp_path, 0), portrait)])
    record = made.record(prepared=prepared(made.cells, mode="animate"))
    assert [(clip.name, clip.frames) for clip in record.clips] == [("clip 0", 5), ("clip 9", 1)]
    assert record.cells[0].reference == portrait.id
    assert record.lights == ()


def test_each_cell_and_each_set_metric_is_announced(clips):
    told = []
    clips.record(metrics=[Brightness(), Gap()], progress=told.append)
    assert told == [
        *("first on clip 0", "second on clip 0", "first on clip 1", "second on clip 1", "Gap")
    ]
