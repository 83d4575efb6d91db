"""What this machine's metrics say does not depend on how the work on real pictures is cut up.

That it holds for each extractor by itself is tested beside it, for set statistics in any order in
`test_frechet` and `test_fid`, for workers in other processes in `test_cells`. Here all extractors
look together, share what they have seen, and go from film to film.
"""

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from evaluation.cells.cell import Case, LightTarget, Subject, plan
from evaluation.cells.inputs import inputs
from evaluation.cells.measure import measure
from evaluation.cells.places import Places
from evaluation.cells.worker import CellWorker
from evaluation.makers import Maker, made
from evaluation.methods.copy import Copy
from evaluation.metrics.base import CaseFeatures, ClipMetric, Extractor, Features, Role
from evaluation.metrics.registry import choose
from evaluation.protocols.lossless import Film, keep_film
from tests.portrait_films import noisy, pan, side_light

OF_FRAMES = (
    "light_error",
    "identity",
    "lpips",
    "lpips_source",
    "image_quality",
    "pose",
    "ground_flicker",
    "background_psnr",
)
"""Metrics whose values are a frame's or a pair's own, whatever else is in the film."""

LATE = 3

Found = Mapping[str, Features]
"""Features by the extractor's name."""


def film_of(folder: Path, frames: NDArray[np.uint8]) -> Film:
    return keep_film(folder, frames, Fraction(25))


@pytest.fixture(scope="module")
def extractors() -> list[Extractor]:
    metrics = [made(maker) for maker in choose().makers]
    found = {each.name: each for metric in metrics for each in metric.extractors().values()}
    for extractor in found.values():
        extractor.setup()
    return list(found.values())


def look(film: Film, extractors: list[Extractor], batch: int) -> Found:
    found = measure(film, extractors, batch)
    assert not found.failures
    return {each.name: found.features[each.digest] for each in extractors}


@pytest.fixture(scope="module")
def whole(extractors: list[Extractor], tmp_path_factory: pytest.TempPathFactory) -> Found:
    """Of twenty frames, decoded at once."""
    return look(film_of(tmp_path_factory.mktemp("films"), pan(20)), extractors, 20)


@pytest.fixture(scope="module")
def noise(extractors: list[Extractor], tmp_path_factory: pytest.TempPathFactory) -> Found:
    """Of the same with noise."""
    return look(film_of(tmp_path_factory.mktemp("films"), noisy(pan(20), 6)), extractors, 20)


@pytest.fixture(scope="module")
def late(
    extractors: list[Extractor], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Found, Found]:
    """Of both films without their first frames: with noise, and as it is."""
    folder = tmp_path_factory.mktemp("films")
    films = [film_of(folder, frames[LATE:]) for frames in (noisy(pan(20), 6), pan(20))]
    with_noise, plain = (look(film, extractors, 16) for film in films)
    return with_noise, plain


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_all_that_is_found_is_the_same_bits_whatever_is_decoded_at_a_time(
    extractors: list[Extractor], whole: Found, batch: int, tmp_path: Path
) -> None:
    found = look(film_of(tmp_path, pan(20)), extractors, batch)
    for name, features in whole.items():
        for feature, values in features.items():
            np.testing.assert_array_equal(found[name][feature], values, strict=True)


def values(metric: ClipMetric, output: Found, driving: Found) -> NDArray[np.float64]:
    films = {"output": output, "driving": driving, "reference": driving}
    found: dict[Role, dict[str, Features]] = {
        role: {extractor.name: films[role][extractor.name]}
        for role, extractor in metric.extractors().items()
        if role != "target"
    }
    return metric.frames(CaseFeatures(found, np.eye(9, 3, dtype=np.float32)))


@pytest.mark.parametrize("key", OF_FRAMES)
def test_values_do_not_depend_on_the_frames_that_go_through_networks_at_once(
    key: str, whole: Found, noise: Found, late: tuple[Found, Found]
) -> None:
    """Where the first frames are missing, all others are in other places of other batches."""
    for maker in choose((key,)).makers:
        metric = made(maker)
        wanted, found = values(metric, noise, whole), values(metric, *late)
        assert len(found) == len(wanted) - LATE > 0
        np.testing.assert_allclose(found, wanted[LATE:], rtol=0, atol=1e-5)


def test_features_are_the_same_bits_by_one_worker_and_by_several_in_any_order(
    tmp_path: Path,
) -> None:
    makers: list[Maker] = [*choose(mode="relight").makers]
    copy: Maker = {"factory": "evaluation.methods.copy:Copy", "arguments": {}}
    kept = []
    for workers in (1, 2):
        root = tmp_path / str(workers)
        drivers = [pan(5), side_light(pan(5), 0.4), noisy(pan(5), 6)]
        target = film_of(root / "films", side_light(pan(1), -0.4))
        light = LightTarget("left", np.eye(9, 3, dtype=np.float32), None, target)
        subjects = [Subject(str(n), "", film_of(root / "films", d)) for n, d in enumerate(drivers)]
        cases = [Case("relight", subject, None, light) for subject in subjects]
        payloads = [each.to_json() for each in inputs(cases)]
        payloads += [{"cell": each.to_json()} for each in plan({"copy": Copy().digest}, cases)]
        for number in range(workers):
            worker = CellWorker(str(root), str(root / "tmp"), {"copy": copy}, makers, batch=4)
            for payload in payloads[number::workers][:: 1 - 2 * number]:
                assert not worker.run(payload, lambda words: None)["failures"]
            worker.close()
        kept.append({path.name: path.read_bytes() for path in Places(root).features.iterdir()})
    # Three films by all that look at films or at outputs, and the target's.
    assert len(kept[0]) > 3 * 8
    assert kept[0] == kept[1]
