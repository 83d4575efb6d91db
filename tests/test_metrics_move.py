"""Real clips, spoilt step by step: each metric moves the right way, in its mean over the clips."""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from evaluation.cells.places import Places
from evaluation.makers import made
from evaluation.methods.base import Light, Scratch
from evaluation.methods.ratio import Ratio
from evaluation.metrics.base import (
    CaseFeatures,
    ClipMetric,
    Extractor,
    Features,
    Metric,
    SetMetric,
    Statistics,
)
from evaluation.metrics.faces import Faces
from evaluation.metrics.registry import choose
from evaluation.protocols.cutting import Cutter
from evaluation.protocols.lossless import Film as Kept
from evaluation.protocols.lossless import write_film
from evaluation.protocols.tables import CutTable, LightsTable, Protocol
from tests.portrait_films import blurred, features, noisy, side_light

SIZE, FRAMES = 160, 16
LEAD = 4
"""Frames before those that are judged, for films that lag behind."""

CLIPS = ("hdtf_WDA_DebbieDingell1_000", "lp_d0", "lp_d18")
"""One turns her head, two hardly move. All are well lit: where half of a face is near white or
under hair (`lp_d10`), the embedded estimate of its light jumps."""

LIGHT = np.zeros((9, 3), np.float32)

Film = np.ndarray
Spoil = Callable[[Sequence[Film], float], list[Film]]
"""From clips of LEAD + FRAMES frames to films of FRAMES."""


def each(change: Callable[[Film, float], Film]) -> Spoil:
    """The same done to every clip by itself."""
    return lambda clips, strength: [change(clip[LEAD:], strength) for clip in clips]


def flickering(film: Film, depth: float) -> Film:
    """Every other frame darker."""
    gains = 1 - depth * (np.arange(len(film)) % 2)
    return (film * gains[:, None, None, None]).round().astype(np.uint8)


def shuffled(film: Film, window: float) -> Film:
    """Frames in another order within windows of so many."""
    order = np.arange(len(film)).reshape(-1, int(window))
    return film[np.random.default_rng(3).permuted(order, axis=1).ravel()]


def under_moving_light(film: Film) -> Film:
    """The light goes from the left to the right while the film runs."""
    strengths = np.linspace(-0.4, 0.4, len(film))
    return np.concatenate([side_light(film[[t]], s) for t, s in enumerate(strengths)])


def late(clips: Sequence[Film], frames: float) -> list[Film]:
    """So many frames behind."""
    begin = LEAD - int(frames)
    return [clip[begin : begin + FRAMES] for clip in clips]


def another(clips: Sequence[Film], share: float) -> list[Film]:
    """The next clip's person in the first frames."""
    until = LEAD + int(share * FRAMES)
    others = [*clips[1:], clips[0]]
    pairs = zip(clips, others, strict=True)
    return [np.concatenate([other[LEAD:until], clip[until:]]) for clip, other in pairs]


SPOILS: Mapping[str, tuple[Spoil, tuple[float, ...]]] = {
    "blur": (each(blurred), (0, 0.7, 1.4, 2.8)),
    "noise": (each(noisy), (0, 4, 8, 16)),
    "side light": (each(side_light), (0, 0.15, 0.3, 0.45)),
    "flicker": (each(flickering), (0, 0.05, 0.1, 0.2)),
    "shuffling": (each(shuffled), (1, 2, 4, 16)),
    "shuffled light": (
        each(lambda film, window: shuffled(under_moving_light(film), window)),
        (1, 2, 4, 16),
    ),
    "lag": (late, (0, 1, 2, 4)),
    "another person": (another, (0, 0.25, 0.5, 1)),
}
"""What is done to clips, and how strongly: at the first strength, nothing but what the driving
film shows too."""

RISE = {
    "blur": ("lpips_source", "fid", "fvd"),
    "noise": ("lpips", "lpips_source", "fid", "fvd", "ground_flicker"),
    "side light": ("light_error", "lpips_source", "fid", "fvd"),
    "flicker": ("light_instability", "ground_flicker", "lpips", "fvd"),
    "shuffling": ("lpips", "lpips_source", "ground_flicker", "fvd"),
    "shuffled light": ("light_instability", "lpips"),
    "lag": ("pose", "lpips_source"),
    "another person": ("lpips_source",),
}
FALL = {
    "blur": ("image_quality", "video_quality", "identity", "background_psnr"),
    "noise": ("image_quality", "video_quality", "identity", "background_psnr"),
    "flicker": ("background_psnr",),
    "shuffling": ("background_psnr",),
    "another person": ("identity",),
}
"""Metrics, as the registry names them, by what moves them."""


class Bench:
    """The clips, and what the extractors of this machine find in them and in spoilt ones.

    Everything is cut, spoilt and looked at once, when it is first asked for.
    """

    def __init__(self, clips: Mapping[str, Film]) -> None:
        self.clips = clips
        self._films: dict[tuple[str, float], list[Film]] = {}
        self._ready: dict[str, Extractor] = {}
        self._found: dict[tuple[str, int], Features] = {}

    def films(self, spoil: str, strength: float) -> list[Film]:
        """The clips, spoilt."""
        if (spoil, strength) not in self._films:
            self._films[spoil, strength] = SPOILS[spoil][0](list(self.clips.values()), strength)
        return self._films[spoil, strength]

    def features(self, extractor: Extractor, film: Film) -> Features:
        """What is found in a film."""
        if extractor.name not in self._ready:
            extractor.setup()
            self._ready[extractor.name] = extractor
        key = (extractor.name, hash(film.tobytes()))
        if key not in self._found:
            self._found[key] = features(self._ready[extractor.name], film)
        return self._found[key]

    def values(self, metric: Metric, spoil: str) -> list[float]:
        """The metric's means at all strengths."""
        strengths = SPOILS[spoil][1]
        driving = self.films(spoil, strengths[0])
        films = [self.films(spoil, strength) for strength in strengths]
        if isinstance(metric, SetMetric):
            real = self._statistics(metric, driving)
            return [metric.value(self._statistics(metric, each), real).value for each in films]
        assert isinstance(metric, ClipMetric)
        return [self._mean(metric, each, driving) for each in films]

    def _mean(self, metric: ClipMetric, outputs: list[Film], driving: list[Film]) -> float:
        means = []
        for output, source in zip(outputs, driving, strict=True):
            films = {"output": output, "driving": source, "reference": source, "target": source[:1]}
            found = {
                role: {extractor.name: self.features(extractor, films[role])}
                for role, extractor in metric.extractors().items()
            }
            means.append(metric.frames(CaseFeatures(found, LIGHT)).mean())
        return float(np.mean(means))

    def _statistics(self, metric: SetMetric, films: list[Film]) -> Statistics:
        extractor = metric.extractors()["output"]
        first, *rest = (metric.statistics(self.features(extractor, film)) for film in films)
        for statistics in rest:
            first = first.merged(statistics)
        return first


@cache
def metrics(key: str) -> list[Metric]:
    """What measures it on this machine: one metric, or its several forms."""
    chosen = choose((key,))
    if chosen.left_out:
        pytest.skip(chosen.left_out[key])
    return [made(maker) for maker in chosen.makers]


@pytest.fixture(scope="module")
def bench(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    lake = tmp_path_factory.mktemp("benchmarks")
    protocol = Protocol(
        name="sanity",
        size=SIZE,
        cut=CutTable(frames=LEAD + FRAMES),
        lights=LightsTable(presets=("left",)),
    )
    cutter = Cutter(protocol, Places(lake))
    films = {name: cutter.file(shared / "media" / f"{name}.mp4").film for name in CLIPS}
    return Bench({name: np.stack(list(film.pictures())) for name, film in films.items()})


def trials(table: Mapping[str, Sequence[str]]) -> pytest.MarkDecorator:
    pairs = [(spoil, key) for spoil, keys in table.items() for key in keys]
    return pytest.mark.parametrize(("spoil", "key"), pairs)


@trials(RISE)
def test_it_rises_step_by_step(bench: Bench, spoil: str, key: str) -> None:
    for metric in metrics(key):
        values = bench.values(metric, spoil)
        assert (np.diff(values) > 0).all(), f"{metric.info.name}: {values}"


@trials(FALL)
def test_it_falls_step_by_step(bench: Bench, spoil: str, key: str) -> None:
    for metric in metrics(key):
        values = bench.values(metric, spoil)
        assert (np.diff(values) < 0).all(), f"{metric.info.name}: {values}"


@pytest.mark.parametrize("spoil", ["blur", "noise"])
def test_another_person_is_far_below_the_same_one_however_spoilt(bench: Bench, spoil: str) -> None:
    (metric,) = metrics("identity")
    same = bench.values(metric, spoil)
    other = bench.values(metric, "another person")[-1]
    assert other < min(same)
    # What spoils a film visibly takes a part of the way down to another person.
    assert 1 - same[-2] < 0.55 * (1 - other), (same, other)


@pytest.fixture(scope="module")
def relit(
    bench: Bench, tmp_path_factory: pytest.TempPathFactory
) -> list[tuple[np.ndarray, list[Film]]]:
    """Each clip on its way to light from the right, by quotient images; and the light there."""
    folder = tmp_path_factory.mktemp("relit")
    (metric, *_) = metrics("light_error")
    faces = metric.extractors()["output"]
    assert isinstance(faces, Faces)
    method = Ratio()
    method.setup()
    found = []
    for name, clip in bench.clips.items():
        film: Kept = write_film(folder / f"{name}.mkv", clip[::4], Fraction(25))
        own = bench.features(faces, clip[::4])["light"].mean(axis=0)
        right = np.zeros_like(own)
        right[1] = 0.1 * own[0]
        outputs = [
            np.stack(
                [*method.relight(film, Light("", own + way * right, None), Scratch(folder, 0))]
            )
            for way in (0, 1 / 3, 2 / 3, 1)
        ]
        found.append((own + right, outputs))
    return found


def test_light_error_falls_on_the_way_to_a_light_that_is_given_by_numbers(
    bench: Bench, relit: list[tuple[np.ndarray, list[Film]]]
) -> None:
    for metric in metrics("light_error"):
        assert isinstance(metric, ClipMetric)
        faces = metric.extractors()["output"]
        errors = [
            [
                metric.frames(
                    CaseFeatures({"output": {faces.name: bench.features(faces, output)}}, wanted)
                ).mean()
                for output in outputs
            ]
            for wanted, outputs in relit
        ]
        values = np.mean(errors, axis=0)
        assert (np.diff(values) < 0).all(), f"{metric.info.name}: {values}"
        assert values[-1] < 0.5 * values[0]
