"""The preview of made-up builds: what it shows of each clip, and what it says in numbers."""

import re
from pathlib import Path

import numpy as np
import pytest

from catalog.clips import ClipRow
from catalog.lake import Lake
from catalog.members import Member, Recipe, remember
from catalog.outcomes import Outcome
from catalog.verdicts import verdict
from evaluation.plots import bars, histogram, scatter
from evaluation.preview import write_preview
from evaluation.strips import spread, strip
from stages.frames import SourceFrames
from tests.browser import screenshot
from tests.media import write_film

STAGES = ("probe", "quality", "landmarks", "frame")


class Made:
    """A lake with a made-up build; clips are numbered in the order of `add`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lake = Lake.open(folder / "lake", create=True)
        self.members: list[Member] = []

    def add(self, label: str, *ended: tuple[str, dict], source: Path | None = None) -> None:
        """A clip with an outcome a pair of (status, further fields), stage by stage."""
        clip = f"{len(self.members):032x}"
        self.members.append(Member(clip, label, "somebody", "train"))
        source = source or self.folder / "gone.mp4"
        self.lake.clips.append([ClipRow(clip, source.as_uri(), label, 1, 1, "plain", "somebody")])
        outcomes = [
            Outcome(clip, stage, "f", status, **fields)
            for stage, (status, fields) in zip(STAGES, ended, strict=False)
        ]
        if outcomes:
            self.lake.outcomes.append(outcomes)

    def page(self, **options) -> str:
        config = {"quality": {"threshold": 0.5}}
        recipe = Recipe("made", "a <source>", config, dict.fromkeys(STAGES, "f"))
        remember(self.lake, recipe, self.members)
        return write_preview(self.lake, "made", self.folder / "page.html", **options).read_text()


@pytest.fixture
def made(tmp_path):
    return Made(tmp_path)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write_film(tmp_path_factory.mktemp("film") / "film.mp4")


def probed(film: Path, **changed) -> tuple[str, dict]:
    facts = SourceFrames(film, budget=0).facts | changed
    return "done", {"facts": facts, "seconds": 1.0}


def labels(page: str) -> list[str]:
    return re.findall(r"<h3>(.*?)</h3>", page)


def test_the_first_stage_that_is_not_done_decides():
    done = Outcome("c", "probe", "f", "done")
    late = Outcome("c", "frame", "f", "failed", reason="late")
    early = Outcome("c", "quality", "f", "rejected", reason="poor")
    assert verdict({"frame": late, "quality": early, "probe": done}, STAGES) == (
        "rejected",
        "quality",
        "poor",
    )


def test_a_clip_is_kept_only_once_every_stage_is_done():
    outcomes = {stage: Outcome("c", stage, "f", "done") for stage in STAGES}
    assert verdict(outcomes, STAGES) == ("done", "frame", "")
    del outcomes["landmarks"]
    assert verdict(outcomes, STAGES) == ("pending", "landmarks", "")


def test_every_clip_has_a_card_with_its_verdict_and_reason(made):
    made.add("new.mp4")
    made.add("poor.mp4", ("rejected", {"reason": "too <short>"}))
    made.add("deadly.mp4", ("quarantined", {"stderr": "fell & over", "command": "try 'it'"}))
    page = made.page()
    assert labels(page) == ["poor.mp4", "deadly.mp4", "new.mp4"]
    assert "too &lt;short&gt;" in page
    assert "fell &amp; over" in page
    assert "try &#39;it&#39;" in page
    assert "a &lt;source&gt;" in page
    assert "not finished 1" in page


def test_names_are_escaped_wherever_they_stand(made):
    made.add('"><script>alert(1)</script>.mp4')
    page = made.page()
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert") >= 1


def test_a_clip_turned_down_shows_its_source(made, film):
    made.add("a.mp4", probed(film), ("rejected", {"score": 0.2}), source=film)
    assert re.search(r'<img src="data:image/webp;base64,[^"]+" alt="source: ', made.page())


def test_a_source_with_damage_that_the_probe_put_up_with_is_shown(made, film, tmp_path):
    data = bytearray(film.read_bytes())
    middle = data.index(b"mdat") + len(data) // 3
    data[middle : middle + 400] = bytes(400)
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(data)
    facts = SourceFrames(damaged, budget=0, max_corrupt=24).facts
    assert facts["corrupt"] > 0
    made.add("a.mp4", ("done", {"facts": facts}), ("rejected", {"score": 0.2}), source=damaged)
    assert 'alt="source: ' in made.page()


def test_a_source_that_is_gone_or_another_costs_only_its_strip(made, film, tmp_path):
    other = tmp_path / "other.mp4"
    other.write_text("no film any more")
    made.add("gone.mp4", probed(film), ("rejected", {}))
    made.add("other.mp4", probed(film), ("rejected", {}), source=other)
    made.add("shorter.mp4", probed(film, frames=500), ("rejected", {}), source=film)
    page = made.page()
    assert labels(page) == ["gone.mp4", "other.mp4", "shorter.mp4"]
    assert page.count("Cannot be shown: ") == 3


def test_a_limit_leaves_some_clips_of_every_verdict(made):
    for number in range(6):
        made.add(f"rejected-{number}.mp4", ("rejected", {}))
    made.add("failed.mp4", ("failed", {}))
    page = made.page(limit=3)
    assert labels(page) == ["rejected-0.mp4", "rejected-1.mp4", "failed.mp4"]
    assert "3 of 7 are shown" in page


def test_an_empty_build_says_so(made):
    page = made.page()
    assert "There are none" in page
    assert "<article" not in page
    assert "Statistics" not in page


def test_stages_stand_in_their_order_in_the_plot_of_their_time(made, film):
    landmarks = ("done", {"seconds": 3.0})
    made.add("a.mp4", probed(film), ("done", {"score": 0.7, "seconds": 1.0}), landmarks)
    page = made.page()
    # Matplotlib draws from below.
    drawn = [text for text in re.findall(r">(\w+)</text>", page) if text in STAGES]
    assert drawn == list(STAGES[::-1])


def test_a_page_names_no_element_twice(made, film):
    made.add("a.mp4", probed(film), ("done", {"score": 0.7, "seconds": 1.0}))
    made.add("b.mp4", probed(film), ("rejected", {"score": 0.2, "seconds": 1.0}))
    names = re.findall(r'<(?:svg|g|div|article)[^>]* id="([^"]+)"', made.page())
    assert len(names) == len(set(names))


def test_plots_are_the_same_bytes_each_time_and_follow_the_pages_colours():
    def plots():
        return (
            histogram({"done": [0.7, 0.8], "failed": [0.1]}, "score", "c", line=0.5),
            scatter([1.0], [2.0], ("x", "y"), "c", limits=(180, 90)),
            bars({"probe": 1.0}, "seconds", "c"),
        )

    assert plots() == plots()
    first, second, third = (plot.svg for plot in plots())
    assert "var(--done, " in first
    assert "var(--failed, " in first
    assert "var(--done, " in second
    assert "var(--bar, " in third


def test_an_empty_histogram_is_a_plot_too():
    assert "<svg" in histogram({}, "frames", "c").svg


def test_frames_of_a_strip_are_spread_over_the_clip():
    assert spread(80, 8) == [5, 15, 25, 35, 45, 55, 65, 75]
    assert spread(2, 8) == [0, 1]


def test_a_strip_holds_its_frames_side_by_side(film):
    picture = strip(SourceFrames(film, budget=0), number=3, height=48)
    assert picture.shape == (48, 3 * 48 + 2 * 2, 3)
    assert np.ptp(picture[:, 48:50]) == 0


@pytest.mark.parametrize("width", [1280, 400])
def test_long_names_and_reasons_do_not_overflow(made, film, tmp_path, width):
    made.add("x" * 200, probed(film), ("rejected", {"reason": "y" * 300}), source=film)
    made.add("z.mp4", ("quarantined", {"stderr": "w" * 500, "command": "limelight " + "v" * 300}))
    made.page()
    page = screenshot(tmp_path / "page.html", tmp_path / "page.png", width, 800)
    assert page.scroll_width <= width
    assert page.articles == 2
    assert page.broken_images == 0
