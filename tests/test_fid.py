"""FID, KID and FVD as metrics: what is fed how, and what is said of them."""

from collections.abc import Iterator

import numpy as np
import pytest

from evaluation.frechet.samples import Samples
from evaluation.metrics import fid, fvd, kid
from evaluation.metrics.base import Extractor, Features, SetMetric
from evaluation.metrics.fid import Fid, InceptionVectors
from evaluation.metrics.fvd import CLIP, ContentDebiasedFvd, Fvd, MotionVectors
from evaluation.metrics.kid import Kid

SIZE = 8


class MeanColours:
    """In place of a network: mean colours of frames, or of clips."""

    def __init__(self, *options: str) -> None:
        self.seen: list[int] = []

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        self.seen.append(len(pictures))
        width = 400 if pictures.ndim == 5 else 2048
        means = pictures.reshape(len(pictures), -1, 3).mean(axis=1)
        return np.resize(means, (3, len(pictures))).T[:, [0] * width].astype(np.float32)


@pytest.fixture(autouse=True)
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks and identities of weights that are not here."""
    for module in (fid, fvd, kid):
        monkeypatch.setattr(module, "identities", lambda names: dict.fromkeys(names, "its digest"))
    monkeypatch.setattr(fid.Offer, "load", lambda offer: MeanColours)


def found(extractor: Extractor, film: np.ndarray, batch: int) -> Features:
    extractor.setup()
    way = extractor.start(len(film), SIZE)
    for begin in range(0, len(film), batch):
        way.add(film[begin : begin + batch])
    return way.finish()


def films() -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    while True:
        yield rng.integers(0, 256, (37, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.mark.parametrize("extractor", [InceptionVectors(), MotionVectors()])
def test_features_do_not_depend_on_how_frames_are_fed(extractor):
    film = next(films())
    whole = found(extractor, film, 37)["vector"]
    for batch in (1, 5, 16):
        assert np.array_equal(found(extractor, film, batch)["vector"], whole)


def test_every_frame_has_a_vector_and_every_whole_clip():
    film = next(films())
    assert found(InceptionVectors(), film, 10)["vector"].shape == (37, 2048)
    assert found(MotionVectors(), film, 10)["vector"].shape == (37 // CLIP, 400)
    assert found(MotionVectors(), film[:15], 10)["vector"].shape == (0, 400)


@pytest.mark.parametrize("extractor", [InceptionVectors(), MotionVectors()])
def test_a_pass_needs_a_network(extractor):
    with pytest.raises(RuntimeError, match="call setup before start"):
        extractor.start(3, SIZE)


def vectors(metric: SetMetric, seed: int, count: int, width: int, shift: float = 0) -> Samples:
    rows = np.random.default_rng(seed).normal(shift, 1, (count, width)).astype(np.float32)
    statistics = metric.statistics({"vector": rows})
    assert isinstance(statistics, Samples)
    return statistics


@pytest.mark.parametrize("metric", [Fid(), Kid(), Fvd()])
def test_values_grow_with_what_sets_the_outputs_apart(metric):
    reals = vectors(metric, 1, 30, 40)
    near, far = (metric.value(vectors(metric, 2, 30, 40, shift), reals) for shift in (0.3, 2))
    assert near.value < far.value
    assert (near.n, near.reals) == (30, 30)
    assert near.warning


@pytest.mark.parametrize("metric", [Fid(), Kid(), Fvd()])
def test_values_do_not_depend_on_the_order_of_films(metric):
    parts = [vectors(metric, seed, 9, 12) for seed in range(4)]
    reals = vectors(metric, 9, 50, 12)
    there = parts[0].merged(parts[1]).merged(parts[2]).merged(parts[3])
    back = parts[3].merged(parts[1]).merged(parts[0].merged(parts[2]))
    assert metric.value(there, reals) == metric.value(back, reals)


@pytest.mark.parametrize("metric", [Fid(), Kid(), Fvd()])
def test_a_draw_of_every_film_once_has_about_the_value(metric):
    outputs, reals = vectors(metric, 1, 30, 12, shift=1), vectors(metric, 2, 30, 12)
    assert metric.redrawn(outputs, reals) == pytest.approx(
        metric.value(outputs, reals).value, rel=1e-5
    )


def test_what_extrapolates_has_no_interval():
    assert Fid(infinite=True).draws == Fvd(infinite=True).draws == 0
    assert 0 < Fid().draws < Fvd().draws


def test_enough_outputs_are_not_warned_of(monkeypatch):
    monkeypatch.setattr(kid, "SUBSETS", 3)
    metric = Fvd()
    value = metric.value(vectors(metric, 1, 60, 4), vectors(metric, 2, 60, 4))
    assert value.warning == ""
    metric = Kid()
    value = metric.value(vectors(metric, 1, 1000, 2), vectors(metric, 2, 1000, 2))
    assert value.warning == ""
    assert abs(value.value) < 0.1


@pytest.mark.parametrize("metric", [Fid(infinite=True), Fvd(infinite=True)])
def test_distances_at_infinity_lie_below_those_of_few(metric):
    plain = type(metric)()
    outputs, reals = (vectors(plain, seed, count, 10) for seed, count in ((1, 60), (2, 5000)))
    assert metric.value(outputs, reals).value < plain.value(outputs, reals).value
    with pytest.raises(ValueError, match="at least 50 are needed"):
        metric.value(vectors(plain, 1, 49, 10), reals)


def test_fvd_divides_by_n_and_fid_by_n_less_one():
    rows = np.array([[0.0], [2.0]])
    apart = Samples.of(np.array([[0.0], [0.0]]))
    for metric in (Fvd(), ContentDebiasedFvd()):
        assert metric.value(Samples.of(rows), apart).value == pytest.approx(1 + 1)
    assert Fid().value(Samples.of(rows), apart).value == pytest.approx(1 + 2)


def test_every_variant_has_a_name_of_its_own():
    variants = [
        *(Fid(way, infinite=far) for way in ("pytorch-fid", "clean-fid") for far in (0, 1)),
        Kid(),
        Fvd(),
        Fvd(infinite=True),
        ContentDebiasedFvd(),
    ]
    infos = [variant.info for variant in variants]
    assert len({info.name for info in infos}) == len({info.title for info in infos}) == 8
    assert {info.grade for info in infos} == {"standard"}
    assert all("its digest" in info.weights.values() for info in infos)


def test_metrics_of_one_network_share_its_look(monkeypatch):
    monkeypatch.setattr("infra.weights.store.weight_digest", lambda name, record: f"of {name}")
    looks = [each.extractors()["output"].digest for each in (Fid(), Kid(), Fid(infinite=True))]
    assert len(set(looks)) == 1
    assert Fid("clean-fid").extractors()["output"].digest != looks[0]
