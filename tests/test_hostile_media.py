"""Every hostile input ends as a value, a rejection in words, or a source error: in time."""

import math
from collections import Counter
from pathlib import Path
from time import perf_counter

import pytest

from infra.errors import SourceError
from stages.base import Rejected
from stages.clip import Clip
from stages.frames import SourceFrames, read_headers
from stages.media import UnusableVideo
from stages.probe import Probe, ProbeConfig
from tests.hostile import HostileInput, write_hostile_corpus
from tests.media import write_film

SECONDS = 120
"""Far more than any of them takes (the slowest 0.3 s on an idle core), far less than for ever."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> list[HostileInput]:
    folder = tmp_path_factory.mktemp("hostile")
    return write_hostile_corpus(folder / "corpus", write_film(folder / "clip.mp4", frames=40))


def judge(path: Path, scratch: Path) -> tuple[str, str]:
    """Probe one input: what came of it, and why."""
    try:
        facts = Probe(ProbeConfig()).process(Clip("c", path, scratch)).facts
    except Rejected as decision:
        return "rejected", decision.reason
    except SourceError as error:
        return "unreadable", error.message
    assert facts["frames"] >= 1
    return "accepted", ""


def test_the_corpus_is_large_and_its_names_unique(corpus):
    assert len(corpus) >= 80
    assert max(Counter(one.name for one in corpus).values()) == 1


def test_each_ends_as_expected_in_bounded_time(corpus, tmp_path):
    wrong = []
    for one in corpus:
        start = perf_counter()
        kind, why = judge(one.path, tmp_path)
        seconds = perf_counter() - start
        if kind not in one.expected or seconds > SECONDS:
            wrong.append((one.name, kind, why, seconds))
        if kind == "rejected":
            assert len(why.split()) >= 4, (one.name, why)
            assert "\n" not in why, (one.name, why)
    assert not wrong


def test_headers_of_each_can_be_asked_for(corpus):
    for one in corpus:
        try:
            headers = read_headers(one.path)
        except (UnusableVideo, SourceError):
            continue
        assert headers.width > 0
        assert headers.height > 0
        assert headers.rate > 0
        assert headers.frames >= 0
        assert math.isfinite(headers.duration)


def test_accepted_ones_give_the_frames_that_they_promise(corpus):
    for one in corpus:
        if one.expected != {"accepted"} or one.name.startswith("names/"):
            continue
        source = SourceFrames(one.path, budget=1 << 24)
        width, height = source.size
        shapes = [frame.shape for frame in source]
        assert shapes == [(height, width, 3)] * len(source), one.name


def test_judging_twice_gives_the_same_reason(corpus, tmp_path):
    for one in corpus[::3]:
        assert judge(one.path, tmp_path) == judge(one.path, tmp_path), one.name
