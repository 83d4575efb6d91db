"""Which metrics there are, and what measures them on a machine."""

import json
import subprocess
import sys

import pytest

from evaluation.makers import Maker, made
from evaluation.methods import needs
from evaluation.metrics import registry
from evaluation.metrics.base import SetMetric
from evaluation.metrics.registry import METRICS, choose, make_metric
from infra.errors import UsageError, WeightsError

ALL = tuple(METRICS)
STANDARD = {key: next(iter(METRICS[key].estimators)) for key in METRICS}


@pytest.fixture
def nothing_here(monkeypatch, tmp_path):
    """A machine without any weights; the folder into which some may be put."""
    monkeypatch.setenv("LIMELIGHT_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("LIMELIGHT_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def has(monkeypatch):
    """Says which weights are here; what is told of each is its name."""

    def say(*weights: str) -> None:
        def lacking(packages: tuple[str, ...], names: tuple[str, ...]) -> str:
            return "" if {*names} <= {*weights, "face_mesh_topology"} else "it needs weights"

        monkeypatch.setattr(registry, "lacking", lacking)
        monkeypatch.setattr("infra.weights.store.weight_digest", lambda name, record: name)

    return say


def everything() -> set[str]:
    return {
        weight
        for entry in METRICS.values()
        for estimator in entry.estimators.values()
        for weight in estimator.offer.weights
    }


def estimators(makers: tuple[Maker, ...]) -> dict[str, str]:
    return {maker["arguments"]["name"]: maker["arguments"]["estimator"] for maker in makers}


def test_stand_ins_measure_what_weights_are_missing_for(nothing_here):
    chosen = choose()
    infos = [made(maker).info for maker in chosen.makers]
    assert {info.name for info in infos if info.grade == "standard"} == {
        "seconds_per_frame",
        "peak_memory",
    }
    assert dict(chosen.left_out) == {
        "kid": "it needs the weights inception_fid: limelight weights pull inception_fid"
    }


def test_the_standard_estimators_are_taken_where_their_weights_are(has):
    has(*everything())
    chosen = choose(ALL)
    assert not chosen.left_out
    assert estimators(chosen.makers) == STANDARD
    embedded = {m.info.name for m in map(made, chosen.makers) if m.info.grade == "embedded"}
    assert embedded == {"pose", "ground_flicker", "background_psnr"}


def test_a_file_put_into_the_folder_of_weights_is_enough(nothing_here):
    assert estimators(choose(["image_quality"]).makers) == {"image_quality": "naturalness"}
    (nothing_here / "liqe_koniq.pt").write_bytes(b"a checkpoint")
    assert estimators(choose(["image_quality"]).makers) == {"image_quality": "liqe"}


@pytest.mark.parametrize(
    ("here", "estimator"),
    [
        (("arcface_glintr100", "arcface_w600k_r50"), "arcface_w600k_r50"),
        (("arcface_glintr100",), "arcface_glintr100"),
        ((), "local_binary"),
    ],
)
def test_id_is_the_first_arcface_that_is_here(has, here, estimator):
    has(*here)
    assert estimators(choose(["identity"]).makers) == {"identity": estimator}


def test_published_values_stand_beside_vq_alone(has):
    """Of the others the paper does not tell which network, checkpoint or code it took."""
    has(*everything())
    infos = [made(maker).info for maker in choose(ALL).makers]
    assert [info.name for info in infos if info.published] == ["video_quality"]


def test_a_metric_that_cannot_be_measured_is_left_out_and_says_why(monkeypatch, nothing_here):
    monkeypatch.setattr(needs, "find_spec", lambda name: None)
    chosen = choose()
    assert set(chosen.left_out) == {"lpips", "lpips_source", "fid", "kid", "fvd"}
    assert "it needs torch, safetensors, not installed here" in chosen.left_out["fid"]
    assert set(estimators(chosen.makers)) >= {"light_error", "identity", "video_quality", "pose"}


def test_every_metric_has_a_name_and_a_title_of_its_own(has):
    has(*everything())
    infos = [
        make_metric(key, estimator=name, **form).info
        for key, entry in METRICS.items()
        for name, estimator in list(entry.estimators.items())[:1]
        for form in estimator.forms
    ]
    assert len({info.name for info in infos}) == len({info.title for info in infos}) == len(infos)


def test_makers_cross_to_other_machines_as_json(has):
    has(*everything())
    for maker in choose(ALL).makers:
        told = json.loads(json.dumps(maker))
        assert made(told).info == made(maker).info


def test_a_worker_without_the_weights_says_so_and_takes_no_stand_in(nothing_here):
    for key, estimator in (
        ("image_quality", "liqe"),
        ("fid", "inception"),
        ("fvd", "i3d"),
        ("fvd_content_debiased", "videomae"),
    ):
        (extractor, *_) = make_metric(key, estimator=estimator).extractors().values()
        with pytest.raises(WeightsError, match=extractor.weights()[0]):
            extractor.setup()
        with pytest.raises(WeightsError, match=extractor.weights()[0]):
            _ = extractor.digest


def test_faces_are_searched_for_once_for_all_metrics_of_them(nothing_here):
    chosen = choose(["light_error", "light_instability", "pose"])
    assert len(chosen.makers) == 6
    looks = {e.digest for maker in chosen.makers for e in made(maker).extractors().values()}
    assert len(looks) == 1


def test_what_is_optional_is_measured_only_where_it_is_asked_for(has):
    has(*everything())
    optional = {key for key, entry in METRICS.items() if entry.optional}
    assert not optional & set(estimators(choose().makers))
    assert estimators(choose(["fid_clean", "fid_clean"]).makers) == {"fid_clean": "inception"}


def test_what_was_asked_for_and_has_no_stand_in_is_left_out_and_says_why(nothing_here):
    chosen = choose(["fvd_content_debiased"])
    assert (chosen.makers, chosen.left_out) == (
        (),
        {
            "fvd_content_debiased": "it needs the weights videomae_ssv2: "
            "limelight weights pull videomae_ssv2"
        },
    )


def test_animation_is_not_held_against_another_persons_ground(has):
    has()
    usual = estimators(choose(mode="animate").makers)
    assert not {"background_psnr", "lpips_source"} & set(usual)
    assert {"pose", "light_error", "fid"} <= set(usual)
    asked = choose(["background_psnr"], "animate")
    assert (asked.makers, asked.left_out) == (
        (),
        {"background_psnr": "it says nothing in mode animate"},
    )


def test_sets_are_compared_by_frames_and_by_clips(has):
    has()
    one, other = (make_metric(key, estimator="random") for key in ("fid", "fvd"))
    assert isinstance(one, SetMetric)
    assert isinstance(other, SetMetric)
    assert one.info.name != other.info.name


def test_an_unknown_metric_or_estimator_is_refused_with_what_there_is():
    with pytest.raises(UsageError, match="no metric is called 'fidd'") as error:
        choose(["fid", "fidd"])
    assert "light_error, identity" in error.value.hint
    with pytest.raises(UsageError, match="fid is not measured by 'i3d'") as error:
        make_metric("fid", estimator="i3d")
    assert error.value.hint == "it is by inception, random"


def test_choosing_imports_no_torch():
    program = "import sys; from evaluation.metrics import registry; registry.choose()"
    command = [sys.executable, "-c", f"{program}; sys.exit('torch' in sys.modules)"]
    assert subprocess.run(command, check=False).returncode == 0
