"""Reports of benchmarks: tables, what names cannot do, and the page in a real browser."""

import csv
import io
import json
import re
import shutil
import subprocess
import threading
from collections import Counter
from functools import partial
from html import escape, unescape
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import av
import numpy as np
import pytest

from evaluation.records.facts import MethodFacts
from evaluation.records.record import Record
from evaluation.report.csv import csv_text
from evaluation.report.csv import escape as escape_csv
from evaluation.report.headline import ablations, headline, parts
from evaluation.report.latex import escape as escape_latex
from evaluation.report.latex import latex
from evaluation.report.markdown import escape as escape_markdown
from evaluation.report.markdown import markdown
from evaluation.report.page import write_report_page
from evaluation.report.tables import Entry, decimals
from evaluation.report.viewer import EMBED_BYTES
from evaluation.report.write import write_report
from infra import faults
from infra.errors import LakeError
from tests.benchmark_record import HOSTILE, METRICS, make_record


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return write_report_page(make_record(), tmp_path_factory.mktemp("page") / "a.html").read_text()


def test_the_same_record_gives_the_same_bytes(tmp_path):
    record = make_record(clips=2, published="hdtf")
    again = Record.model_validate_json(record.text())
    first = write_report(record, tmp_path / "a", before=record)
    second = write_report(again, tmp_path / "b", before=again)
    for one, other in zip(vars(first).values(), vars(second).values(), strict=True):
        assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize(
    ("name", "point", "nth"),
    [("html", "page", 1), ("md", "report", 1), ("tex", "report", 2), ("csv", "report", 3)],
)
def test_a_report_that_cannot_be_written_leaves_the_one_before(
    tmp_path, monkeypatch, name, point, nth
):
    path = tmp_path / f"report.{name}"
    path.write_text("the one before")
    monkeypatch.setattr(faults, "_passes", Counter())
    monkeypatch.setenv(faults.VARIABLE, f"enospc@{point}.write.after#{nth}")
    with pytest.raises(LakeError, match="is full"):
        write_report(make_record(cells=(), sets=(), traces=(), study=()), tmp_path)
    assert path.read_text() == "the one before"
    assert not [*tmp_path.glob(".*")]


@pytest.mark.parametrize(
    ("value", "places"),
    [
        (0.738, 3),
        (0.0295, 4),
        (2.646, 3),
        (44.57, 2),
        (403.0, 1),
        (0, 3),
        (12345, 0),
        (-0.05, 4),
        (1e-9, 3),
    ],
)
def test_values_have_as_many_decimals_as_in_the_paper(value, places):
    assert decimals(value) == places


def _entries(record, key):
    table = headline(record, "relight")
    place = [column.key for column in table.columns].index(key)
    return {line.name: line.entries[place] for line in table.lines}


def test_best_and_second_best_follow_the_metrics_direction():
    record = make_record()
    assert {name: e.place for name, e in _entries(record, "le").items()} == {
        "copy": 0,
        "ratio": 2,
        "lcvd": 1,
    }
    assert {name: e.place for name, e in _entries(record, "id").items()} == {
        "copy": 1,
        "ratio": 2,
        "lcvd": 0,
    }


def test_equal_values_share_a_place_and_one_alone_has_none():
    record = make_record()
    sets = tuple(each.model_copy(update={"value": 7.0}) for each in record.sets)
    places = [e.place for e in _entries(record.model_copy(update={"sets": sets}), "fid").values()]
    assert places == [1, 1, 1]
    assert _entries(make_record(methods=("copy",)), "le")["copy"].place == 0


def test_a_set_value_brings_its_own_interval_or_has_none():
    record = make_record()
    assert _entries(record, "fid")["copy"].interval == "[45.00, 56.00]"
    sets = tuple(each.model_copy(update={"low": None, "high": None}) for each in record.sets)
    entry = _entries(record.model_copy(update={"sets": sets}), "fid")["copy"]
    assert (entry.text, entry.interval, entry.count) == ("50.00", "", "n=192")


def test_a_failed_cell_shows_in_the_count():
    assert _entries(make_record(), "le")["lcvd"].count == "n=11 of 12"


def test_published_numbers_stand_beside_the_same_estimator_only():
    table = headline(make_record(), "relight")
    lcvd = dict(table.published)["LCVD"]
    assert dict(zip([column.key for column in table.columns], lcvd, strict=True)) == {
        "le": "0.738",
        "id": "",
        "lpips_adjacent": "0.0282",
        "fid": "37.46",
        "LA-U": "",
        "ID-U": "",
    }


def test_published_rows_are_said_to_be_no_measurement_of_ours(tmp_path):
    report = write_report(make_record(clips=2), tmp_path)
    assert "LCVD<small>as published</small>" in report.page.read_text()
    assert "*LCVD (as published)*" in report.markdown.read_text()
    assert r"\textit{LCVD (as published)}" in report.latex.read_text()
    for text in (report.page, report.markdown, report.latex):
        assert "table 1: as published, not measured by us" in text.read_text().replace("\\", "")


def test_set_values_without_an_interval_are_said_to_have_none(page):
    record = make_record()
    told = "FID: one value of all films together, without an interval"
    assert told not in page
    spread = "± Student's t times the standard deviation over 25 draws of identities."
    assert headline(record, "relight").whole == f"FID: one value of all films together, {spread}"
    assert spread in unescape(page)
    gone = {"low": None, "high": None, "draws": 0}
    sets = tuple(each.model_copy(update=gone) for each in record.sets)
    record = record.model_copy(update={"sets": sets})
    assert headline(record, "relight").whole == f"{told}."
    assert told in markdown(record).replace("\\", "")
    assert told in latex(record)


def _spoilt(gaps=None, missing=None, **changes):
    """A record whose first cell lacks some frames, or a metric."""
    record = make_record(**changes)
    first = record.cells[0]
    values = first.values | dict.fromkeys(missing or {})
    spoilt = first.model_copy(
        update={"gaps": gaps or {}, "missing": missing or {}, "values": values}
    )
    return record.model_copy(update={"cells": (spoilt, *record.cells[1:])})


@pytest.mark.parametrize(
    ("share", "told"),
    [(0.0, ""), (0.001, "<1%"), (0.006, "1%"), (0.25, "25%"), (0.999, "99%")],
)
def test_the_share_of_frames_without_a_value_is_told(share, told):
    assert Entry(0.5, gaps=share).lacking == (f"{told} of frames missing" if told else "")


def test_frames_without_a_value_are_told_beside_the_mean_and_beside_the_clip(page, tmp_path):
    record = _spoilt(gaps={"le": 0.6})
    assert _entries(record, "le")["copy"].gaps == pytest.approx(0.6 / 12)
    assert not _entries(record, "le")["ratio"].gaps
    report = write_report(record, tmp_path)
    text = report.page.read_text()
    for share in ("5%", "60%"):
        assert f"<small>{share} of frames missing</small>" in text
    assert "of frames missing" not in page
    assert "5% of frames missing" in report.markdown.read_text()
    assert r"5\% of frames missing" in report.latex.read_text()
    assert "are left out of the means" in report.latex.read_text()
    rows = list(csv.DictReader(report.csv.open(encoding="utf-8")))
    assert "0.6" in {row["gaps"] for row in rows if row["kind"] == "clip"}


def test_why_a_clip_has_no_value_can_be_read_and_does_nothing(tmp_path):
    record = _spoilt(missing={"id": HOSTILE}, clips=2)
    assert _entries(record, "id")["copy"].count == "n=3 of 4"
    report = write_report(record, tmp_path)
    page = report.page.read_text()
    assert "<summary>done, 1 without a value</summary>" in page
    assert "<dt>ID</dt><dd><code>&lt;img src=x" in page
    assert "<img" not in page
    rows = list(csv.DictReader(report.csv.open(encoding="utf-8")))
    assert [row["metric"] for row in rows if row["note"].startswith("<img")] == ["id"]


def test_what_failed_is_told_once_a_method_and_a_long_reason_is_folded(tmp_path):
    record = make_record(clips=1)
    reasons = (f"{'<b>' * 400}end", "another one")
    failed = tuple(
        cell.model_copy(update={"outcome": "failed", "reason": reason})
        for cell, reason in zip(record.cells[-2:], reasons, strict=True)
    )
    record = record.model_copy(update={"cells": (*record.cells[:-2], *failed)})
    page = write_report_page(record, tmp_path / "report.html").read_text()
    assert page.count("2 of 2 films failed") == 1
    assert "the first of them: Clip 000, light left; 2 different reasons" in page
    folded = re.search(r"<div><details><summary>(.*?)…</summary>…(.*?)</details></div>", page)
    assert unescape(folded[1] + folded[2]) == reasons[0]
    assert f"<details><summary>failed</summary>{escape(reasons[0])}</details>" in page
    assert "<b><b>" not in page


def test_where_nothing_failed_nothing_is_said_of_it(page, tmp_path):
    record = make_record(clips=1)
    done = tuple(cell for cell in record.cells if cell.outcome == "done")
    record = record.model_copy(update={"cells": done})
    assert "what failed, and why" in page
    assert "what failed" not in write_report_page(record, tmp_path / "a.html").read_text()


def _heads(page):
    head = re.search(r'<table class="sortable clips">\s*<thead>(.*?)</thead>', page, re.DOTALL)
    return re.findall(r"<button[^>]*>(.*?)</button>", head[1])


def test_how_a_clip_ended_is_told_before_its_numbers(page):
    assert _heads(page)[:6] == ["Clip", "Light", "Method", "Outcome", "Identity", "LE ↓"]


def _animation(record):
    portrait = record.clips[0]
    cells = tuple(
        each.model_copy(update={"mode": "animate", "light": "", "reference": portrait.id})
        for each in record.cells
        if each.clip != portrait.id
    )
    return record.model_copy(update={"cells": cells, "traces": (), "sets": ()})


def test_animation_has_no_column_of_lights(tmp_path):
    record = _animation(make_record(clips=2))
    page = write_report_page(record, tmp_path / "report.html").read_text()
    assert _heads(page)[:3] == ["Clip", "Method", "Outcome"]


def test_the_heading_says_what_was_really_judged(tmp_path):
    record = make_record(clips=3)
    frames = zip(record.clips, (8, 16, 16), strict=True)
    clips = tuple(clip.model_copy(update={"frames": number}) for clip, number in frames)
    record = record.model_copy(update={"clips": clips})
    size = record.protocol.size
    page = write_report_page(record, tmp_path / "a.html").read_text()
    told = f"Judged here: 8 to 16 frames a clip · {size}×{size} pixels · lights left, right<"
    assert told in page
    page = write_report_page(_animation(record), tmp_path / "b.html").read_text()
    assert f"Judged here: 16 frames a clip · {size}×{size} pixels · 1 portrait<" in page
    assert "3 methods · 2 clips" in page


def test_films_follow_the_first_table_and_minor_plots_are_folded(tmp_path):
    variant = METRICS[0].model_copy(update={"name": "le_grey", "title": "LE grey"})
    record = make_record(clips=2, videos=True, metrics=(*METRICS, variant))
    cells = tuple(
        each.model_copy(update={"values": each.values | {"le_grey": 0.4}}) for each in record.cells
    )
    record = record.model_copy(update={"cells": cells})
    write_film(tmp_path / cells[0].video)
    page = write_report_page(record, tmp_path / "report.html").read_text()
    order = ["Relighting", "Side by side", "Relighting: further metrics", "Relighting: plots"]
    assert re.findall("<h2>(.*?)</h2>", page)[:4] == order
    folds = r"<h2>Relighting: plots</h2>(.*?)<summary>\d+ further plots?</summary>(.*?)</details>"
    plots, folded = re.search(folds, page, re.DOTALL).groups()
    captions = re.findall("<figcaption>(.*?)</figcaption>", plots)
    assert [caption.split(":")[0].split(" of each")[0] for caption in captions] == [
        "ID† against LE",
        "LE over time",
        "LE",
        "ID†",
        "LPIPS",
    ]
    assert "<figcaption>LE grey of each clip" in folded


def test_a_metric_that_was_not_measured_is_named_with_the_reason():
    record = make_record(unmeasured={"fvd": "torch is missing <here>"})
    assert headline(record, "relight").unmeasured == (("fvd", "torch is missing <here>"),)
    assert "- fvd was not measured: torch is missing &lt;here&gt;" in markdown(record)


def test_the_page_names_metrics_that_were_not_measured(tmp_path):
    record = make_record(unmeasured={"fvd": "torch is missing <here>"})
    page = write_report_page(record, tmp_path / "report.html").read_text()
    assert "<li>fvd was not measured: torch is missing &lt;here&gt;</li>" in page


def test_an_embedded_metric_never_has_published_numbers_beside_it():
    metrics = tuple(m.model_copy(update={"grade": "embedded", "published": "LE"}) for m in METRICS)
    assert headline(make_record(metrics=metrics), "relight").published == ()


def test_another_protocol_has_no_published_numbers_beside_it():
    assert headline(make_record(published=""), "relight").published == ()


def test_embedded_metrics_get_a_dagger_and_a_footnote_everywhere(page):
    record = make_record()
    assert 'ID<sup title="a stand-in' in page
    for text in (page, markdown(record), latex(record)):
        assert "ID by local binary patterns" in text
    assert "| ID† ↑ |" in markdown(record)
    assert "† a stand-in" in markdown(record)
    assert r"ID$^{\dagger}$ $\uparrow$" in latex(record)


def test_the_first_table_has_the_paper_s_shape_and_a_second_one_the_rest(tmp_path):
    variants = [("le_grey", "LE grey"), ("psnr", "Background PSNR"), ("fid_infinite", "FID∞")]
    more = [METRICS[0].model_copy(update={"name": n, "title": t}) for n, t in variants]
    record = make_record(metrics=(*more[1:], *METRICS, more[0]))
    values = {"le_grey": 0.4, "psnr": 30.0, "fid_infinite": 9.0}
    cells = tuple(c.model_copy(update={"values": c.values | values}) for c in record.cells)
    record = record.model_copy(update={"cells": cells, "unmeasured": {"fvd": "no weights"}})
    first, second = parts(headline(record, "relight"))
    asked = ["LA-U", "ID-U"]
    assert [c.key for c in first.columns] == ["le", "id", "lpips_adjacent", "fid", *asked]
    assert [c.title for c in second.columns] == ["Background PSNR", "FID∞", "LE grey"]
    assert (len(first.published), len(first.unmeasured), second.unmeasured) == (6, 1, ())
    assert second.lines[0].entries[0].value == 30.0
    page = write_report_page(record, tmp_path / "report.html").read_text()
    assert page.count("fvd was not measured") == 1 == page.count("<b>Best</b>")
    assert "<h2>Relighting: further metrics</h2>" in page


def test_a_table_without_further_metrics_is_one():
    table = headline(make_record(), "relight")
    assert parts(table) == [table]


def test_a_method_that_failed_everywhere_says_of_how_many(tmp_path):
    record = make_record(methods=("a", "b"))
    cells = tuple(
        each.model_copy(update={"outcome": "failed", "values": {}}) if each.method == "b" else each
        for each in record.cells
    )
    report = write_report(record.model_copy(update={"cells": cells}), tmp_path)
    assert "<td>–<small>n=0 of 12</small></td>" in report.page.read_text()
    assert "| – n=0 of 12 |" in report.markdown.read_text()
    assert "_{n=0/12}" in report.latex.read_text()


def test_an_ablation_orders_the_values_of_its_factor():
    factors = {"a": {"guidance": 4.5}, "b": {"guidance": 1.5}, "c": {"adapters": "both"}}
    found = ablations(make_record(methods=("a", "b", "c"), factors=factors), "relight")
    assert [(each.factor, each.values, each.numeric) for each in found] == [
        ("guidance", (1.5, 4.5), True)
    ]
    assert [line.name for line in found[0].table.lines] == ["b", "a"]
    assert [line.name for line in found[0].labelled.lines] == ["1.5", "4.5"]


def test_ablations_are_in_the_page_and_in_the_texts(tmp_path):
    factors = {"a": {"<w>": 4.5}, "b": {"<w>": 1.5}}
    report = write_report(make_record(methods=("a", "b"), factors=factors), tmp_path)
    page = report.page.read_text()
    assert '<th scope="col">&lt;w&gt;</th><th scope="col">1.5</th><th scope="col">4.5</th>' in page
    assert "LE over &lt;w&gt;" in page
    assert r"## Ablation\: &lt;w&gt;" in report.markdown.read_text()
    assert r"Ablation: \textless{}w\textgreater{}" in report.latex.read_text()


def test_the_page_says_what_was_left_out_and_how_far_people_agree(page):
    assert "<dt>short.mp4</dt><dd><code>7 frames; 8 are needed</code></dd>" in page
    assert "LA-U: 17 people said it, from 1 to 5; they agree" in page


def test_an_unavailable_method_says_why(tmp_path):
    record = make_record()
    gone = MethodFacts(name="dpr", unavailable="the weight dpr is missing")
    record = record.model_copy(update={"methods": (*record.methods, gone)})
    page = write_report_page(record, tmp_path / "report.html").read_text()
    assert "unavailable: the weight dpr is missing" in page
    assert "dpr could not run: the weight dpr is missing" in markdown(record)


def test_a_record_without_cells_still_makes_a_report(tmp_path):
    report = write_report(make_record(cells=(), sets=(), traces=(), study=()), tmp_path)
    assert "Nothing was measured" in report.page.read_text()


def test_hostile_names_are_text_in_the_page(tmp_path):
    record = make_record(methods=(HOSTILE, "</title><script>x()</script>"), name=HOSTILE)
    write_film(tmp_path / "videos" / "film.mp4")
    cell = record.cells[0].model_copy(update={"video": "videos/film.mp4"})
    record = record.model_copy(update={"cells": (cell, *record.cells[1:])})
    page = write_report_page(record, tmp_path / "report.html", before=record).read_text()
    assert "<img" not in page
    assert page.count("<script") == 2 == page.count("</script>")
    assert "x()" in page


def test_nothing_but_films_is_asked_for(page):
    page = re.sub(r"<svg.*?</svg>|xmlns\S+", "", page, flags=re.DOTALL)
    assert not re.search(r"https?://|<link (?!rel=\"icon\" href=\"data:,\")| src=|@import", page)


def test_markdown_shows_names_as_they_are():
    assert escape_markdown("a|b\n<i>*c*") == r"a\|b &lt;i&gt;\*c\*"
    rows = markdown(make_record(methods=(HOSTILE, "b"))).splitlines()
    table = [row for row in rows if row.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table}) == 1


def test_latex_sets_names_as_they_are():
    assert escape_latex("a_b & 50%\\") == r"a\_b \& 50\%\textbackslash{}"
    assert escape_latex("a---b\n\n\\input") == r"a-{}-{}-b \textbackslash{}input"
    text = latex(make_record(methods=(HOSTILE, "b")))
    rows = [row for row in text.splitlines() if row.endswith(r"\\")]
    assert len({len(re.findall(r"(?<!\\)&", row)) for row in rows}) == 1


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "\r=1", "＝1"])
def test_no_name_is_a_formula_in_a_spreadsheet(name):
    assert escape_csv(name).startswith("'")


def test_csv_holds_every_number_in_full():
    record = make_record(methods=(HOSTILE, "b"))
    rows = list(csv.DictReader(io.StringIO(csv_text(record))))
    cell = record.cells[0]
    found = next(row for row in rows if row["kind"] == "clip" and row["metric"] == "le")
    assert float(found["value"]) == cell.values["le"]
    assert found["method"].startswith("<img")
    failed = next(row for row in rows if row["outcome"] == "failed")
    assert (failed["value"], failed["note"]) == ("", "no face was found in 3 of 16 frames")
    assert {row["grade"] for row in rows if row["metric"] == "id"} == {"embedded"}


def test_the_wanted_light_and_the_portrait_stand_beside_the_films(tmp_path):
    record = make_record(methods=("a", "b"), clips=2, lights=("left",), videos=True)
    lights = tuple(each.model_copy(update={"picture": "left.png"}) for each in record.lights)
    portrait, driving = record.clips
    cells = tuple(
        each.model_copy(update={"reference": portrait.id})
        for each in record.cells
        if each.clip == driving.id
    )
    record = record.model_copy(update={"lights": lights, "cells": cells})
    (tmp_path / "videos").mkdir()
    for name in ("left.png", portrait.video, driving.video, cells[0].video):
        (tmp_path / name).write_bytes(b"small")
    page = write_report_page(record, tmp_path / "report.html").read_text()
    viewer = json.loads(re.search(r'id="films">(.*?)</script>', page)[1])
    assert [(film["title"], film["kind"]) for film in viewer["cases"][0]["films"]] == [
        ("light", "picture"),
        ("portrait", "still"),
        ("driving", "film"),
        ("a", "film"),
    ]
    assert any(url.startswith("data:image/png;base64,") for url in viewer["urls"])


def test_large_films_stay_beside_the_page_and_missing_ones_are_left_out(tmp_path):
    record = make_record(methods=("a b", "c"), clips=1, videos=True)
    (tmp_path / "videos").mkdir()
    large = tmp_path / "videos" / "0-clip-000-left.mp4"
    with large.open("wb") as file:
        file.truncate(EMBED_BYTES + 1)
    page = write_report_page(record, tmp_path / "report.html").read_text()
    viewer = json.loads(re.search(r'id="films">(.*?)</script>', page)[1])
    assert viewer["urls"] == ["videos/0-clip-000-left.mp4"]
    assert [film["title"] for film in viewer["cases"][0]["films"]] == ["a b"]
    large.write_bytes(b"small")
    page = write_report_page(record, tmp_path / "report.html").read_text()
    assert '"urls": ["data:video/mp4;base64,c21hbGw="]' in page


DRIVER = """
<iframe src="report.html" style="width:1280px;height:900px"></iframe>
<iframe src="report.html" style="width:400px;height:900px"></iframe>
<img src="hold">
<script>
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const drive = async () => {
  const [wide, narrow] = [...document.querySelectorAll("iframe")].map((each) => each.contentWindow);
  for (const each of [wide, narrow])
    while (!each.document.querySelector("video")?.readyState) await wait(20);
  const page = wide.document, found = {};
  found.overflow = [wide, narrow].map(({ document: { documentElement: root } }) =>
    root.scrollWidth - root.clientWidth);
  const table = page.querySelector("table.clips");
  const sorted = () => {
    table.tHead.rows[0].cells[5].querySelector("button").click();
    return [...table.tBodies[0].rows].map((row) => row.cells[5].dataset.value);
  };
  found.up = sorted();
  found.down = sorted();
  page.querySelectorAll("[data-case]")[1].click();
  const videos = [...page.querySelectorAll("video")];
  while (videos.some((video) => video.readyState < 4)) await wait(20);
  const times = async () => { await wait(250); return videos.map((video) => video.currentTime); };
  const seek = page.querySelector(".viewer input");
  seek.value = 3;
  seek.oninput();
  found.sought = await times();
  page.querySelector("[data-do=on]").click();
  found.stepped = await times();
  page.querySelector("[data-do=play]").click();
  found.playing = await times();
  page.querySelector("[data-do=play]").click();
  found.paused = await times();
  found.still = await times();
  return found;
};
addEventListener("DOMContentLoaded", async () => {
  const out = document.createElement("pre");
  out.textContent = JSON.stringify(await drive().catch((error) => String(error)));
  document.body.append(out);
  new Image().src = "done";
});
</script>
"""
"""What is done to the page. The picture `hold` keeps the browser from ending before it is."""


class _Held(SimpleHTTPRequestHandler):
    done: threading.Event

    def do_GET(self):
        if self.path == "/done":
            self.done.set()
        if self.path == "/hold":
            self.done.wait(30)
        super().do_GET()

    def log_message(self, *args):
        pass


def drive(folder):
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("needs Debian's chromium, which is not installed here")
    (folder / "driver.html").write_text(f"<!doctype html><body>{DRIVER}")
    _Held.done = threading.Event()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Held, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        options = [
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            f"--user-data-dir={folder}/profile",
            *("--window-size=1800,1000", "--dump-dom"),
        ]
        url = f"http://127.0.0.1:{server.server_port}/driver.html"
        run = subprocess.run(
            [browser, *options, url], capture_output=True, check=True, timeout=120, text=True
        )
        _Held.done.set()
        server.shutdown()
    return json.loads(unescape(re.search(r"<pre>(.*?)</pre>", run.stdout)[1]))


def write_film(path, frames=50):
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as film:
        stream = film.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for number in range(frames):
            picture = np.full((64, 64, 3), 4 * number, np.uint8)
            film.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        film.mux(stream.encode())


def test_in_a_browser_tables_sort_films_play_in_step_and_nothing_overflows(tmp_path):
    record = make_record(methods=("copy", "b" * 90, HOSTILE), videos=True, name="n" * 120)
    film = tmp_path / "film.mp4"
    write_film(film)
    (tmp_path / "videos").mkdir()
    for each in (*record.clips, *record.cells):
        (tmp_path / each.video).hardlink_to(film)
    write_report(record, tmp_path, before=record)
    found = drive(tmp_path)
    assert found["overflow"] == [0, 0]
    values = [float(value) for value in found["up"][:-1]]
    assert values == sorted(values)
    assert found["up"][-1] == found["down"][-1] == ""  # the failed cell's
    assert [float(value) for value in found["down"][:-1]] == values[::-1]
    assert found["sought"] == pytest.approx([3.5 / 25] * 4, abs=1e-3)
    assert found["stepped"] == pytest.approx([4.5 / 25] * 4, abs=1e-3)
    assert min(found["playing"]) > 5 / 25
    assert max(found["playing"]) - min(found["playing"]) < 2 / 25
    assert len(set(found["paused"])) == 1
    assert found["still"] == found["paused"]
