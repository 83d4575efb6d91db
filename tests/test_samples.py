"""A position of the stream becomes tensors: the right frames, at the right size, of all streams."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from catalog.release import Release
from infra.errors import LakeError, UsageError, WeightsError
from stages.kpmap import draw_keypoints
from stages.models.face_geometry import FaceGeometry, shading_pictures
from stages.models.mesh_geometry import MeshGeometry
from tests.releases import make_release, sample
from tests.training_release import SIDE, damage, dome_recipe, dome_release, domes_for_faces
from training.recipe.tables import ModelTable
from training.samples import conditions
from training.samples.read import SampleReader
from training.samples.sample import collate


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Release:
    return dome_release(tmp_path_factory.mktemp("samples"))


@pytest.fixture(autouse=True)
def domes():
    with domes_for_faces():
        yield


def test_slot_0_is_the_reference_and_the_rest_the_window(release):
    reader = SampleReader(release, dome_recipe())
    draw, found = reader.stream.draw(5), reader[5]
    frames = reader.clips.film(draw.clip, "video", draw.indices)
    small = [cv2.resize(frame, (64, 64), interpolation=cv2.INTER_AREA) for frame in frames]
    np.testing.assert_array_equal(found.video.numpy(), small)
    assert (found.position, found.key) == (5, reader.clips.keys[draw.clip])
    assert found.lost == ()


def test_conditions_are_drawn_without_loss_at_the_size_of_training(release):
    reader = SampleReader(release, dome_recipe())
    draw, found = reader.stream.draw(0), reader[0]
    arrays = reader.clips.arrays(draw.clip)
    every = FaceGeometry.from_arrays(arrays)
    shading = np.stack(list(shading_pictures(MeshGeometry(), every, 64)))
    np.testing.assert_array_equal(found.shading.numpy(), shading[list(draw.indices)])
    points = arrays["landmarks"][list(draw.indices)] / np.float32(SIDE)
    maps = [draw_keypoints(each, 64) for each in points]
    np.testing.assert_array_equal(found.landmarks.numpy(), maps)
    assert found.landmarks.any()


def test_conditions_come_from_the_films_where_a_recipe_says_so(release):
    reader = SampleReader(release, dome_recipe(conditions="film", size=64))
    draw, found = reader.stream.draw(0), reader[0]
    for name, pictures in (("mesh", found.shading), ("kpmap", found.landmarks)):
        frames = reader.clips.film(draw.clip, name, draw.indices)
        small = [cv2.resize(frame, (64, 64), interpolation=cv2.INTER_AREA) for frame in frames]
        np.testing.assert_array_equal(pictures.numpy(), small)


def test_what_the_numbers_do_not_tell_comes_from_the_films(release, tmp_path):
    # As in a build by DECA whose landmarks were left out, trained on where there is no FLAME.
    np.savez(tmp_path / "params.npz", light=np.zeros((24, 9, 3)), size=np.array(SIDE))
    row = release.index.to_pylist()[0]
    films = {f"{name}.mp4": release.read(row["key"], f"{name}.mp4") for name in
             ("video", "mask", "kpmap", "mesh")}  # fmt: skip
    params = (tmp_path / "params.npz").read_bytes()
    one = replace(
        sample(1, **films, **{"params.npz": params}), frames=row["frames"], width=SIDE, height=SIDE
    )
    bare = make_release(tmp_path / "lake", [one])
    found = SampleReader(bare, dome_recipe())[0]
    filmed = SampleReader(bare, dome_recipe(conditions="film"))[0]
    assert torch.equal(found.shading, filmed.shading)
    assert torch.equal(found.landmarks, filmed.landmarks)


@pytest.mark.parametrize("weights", ["there", "missing"])
def test_a_head_by_deca_is_drawn_where_its_weights_are_else_filmed(
    release, tmp_path, monkeypatch, weights
):
    asked = []

    class Offered:
        def load(self):
            def make(**options):
                asked.append(options)
                if weights == "missing":
                    raise WeightsError("no flame here")
                return MeshGeometry()

            return make

    monkeypatch.setitem(conditions.GEOMETRY_MODELS, "deca", Offered())
    row = release.index.to_pylist()[0]
    names = ("video.mp4", "mask.mp4", "kpmap.mp4", "mesh.mp4", "params.npz")
    members = {name: release.read(row["key"], name) for name in names}
    one = replace(
        sample(1, **members),
        frames=row["frames"],
        width=SIDE,
        height=SIDE,
        facts={"geometry": {"model": "deca", "region": "head"}},
    )
    found = SampleReader(make_release(tmp_path / "lake", [one]), dome_recipe())[0]
    kind = "render" if weights == "there" else "film"
    same = SampleReader(make_release(tmp_path / "same", [one]), dome_recipe(conditions=kind))
    assert torch.equal(found.shading, same[0].shading)
    assert asked == [{"region": "head", "device": torch.device("cpu")}]


def test_a_latent_is_the_portraits_where_most_of_its_pixels_are(release):
    reader = SampleReader(release, dome_recipe())
    alpha = reader.clips.film(0, "mask", [0])[0].reshape(8, 12, 8, 12).mean(axis=(1, 3))
    assert ((alpha > 0) & (alpha < 255)).any()
    np.testing.assert_array_equal(reader[0].mask.numpy(), np.stack([alpha >= 127.5] * 4))


def test_no_keypoint_maps_are_drawn_that_no_adapter_looks_at(release):
    recipe = dome_recipe().model_copy(update={"model": ModelTable()})
    assert SampleReader(release, recipe)[0].landmarks is None


def test_a_batch_has_the_ranges_that_the_network_takes(release):
    reader = SampleReader(release, dome_recipe())
    samples = [reader[0], reader[1]]
    batch = collate(samples)
    assert batch.positions == (0, 1)
    assert len(batch) == 2
    assert batch.video.shape == batch.shading.shape == batch.landmarks.shape == (2, 4, 3, 64, 64)
    assert batch.mask.shape == (2, 4, 1, 8, 8)
    assert set(batch.mask.unique().tolist()) == {0.0, 1.0}
    expected = samples[1].video.permute(0, 3, 1, 2) / 127.5 - 1
    torch.testing.assert_close(batch.video[1], expected, atol=1e-6, rtol=0)
    assert torch.equal(batch.reference, batch.video[:, 0])
    assert 0 == batch.shading.min() < batch.shading.max() <= 1
    assert batch.moments is None


def test_batches_can_be_of_half_precision(release):
    batch = collate([SampleReader(release, dome_recipe())[0]], dtype=torch.bfloat16)
    assert {batch.video.dtype, batch.mask.dtype, batch.shading.dtype} == {torch.bfloat16}


@pytest.mark.parametrize("member", ["video.mp4", "mask.mp4", "params.npz"])
def test_a_damaged_sample_is_replaced_by_the_same_other_one_and_reported(release, tmp_path, member):
    key = release.index["key"].to_pylist()[1]
    readers = [
        SampleReader(damage(release, tmp_path / name, key, member), dome_recipe())
        for name in ("one", "two")
    ]
    places = [place for place in range(12) if readers[0].stream.draw(place).clip == 1]
    for place in places:
        first, second = (reader[place] for reader in readers)
        assert first.key == second.key != key
        assert torch.equal(first.video, second.video)
        assert {lost for lost, _ in first.lost} == {key}
        assert f"{key}.{member}" in first.lost[0][1]
        assert collate([first]).lost == first.lost
    whole = next(place for place in range(12) if place not in places)
    assert readers[0][whole].lost == ()


def test_a_missing_member_and_a_missing_shard_lose_the_sample(release, tmp_path):
    one = release.index.to_pylist()[0]
    films = {f"{name}.mp4": release.read(one["key"], f"{name}.mp4") for name in ("video", "mask")}
    members = [dict(films, **{"params.npz": release.read(one["key"], "params.npz")}), films]
    samples = [
        replace(sample(i, **each), frames=one["frames"], width=SIDE, height=SIDE)
        for i, each in enumerate(members)
    ]
    partial = make_release(tmp_path / "lake", samples)
    reader = SampleReader(partial, dome_recipe())
    found = [reader[place] for place in range(4)]
    assert {each.key for each in found} == {samples[0].key}
    reasons = {reason for each in found for _, reason in each.lost}
    assert all("params.npz" in reason for reason in reasons)
    partial.shard(partial.index["shard"][0].as_py()).unlink()
    with pytest.raises(LakeError, match="no sample for position 0: 17 draws in a row"):
        reader[0]


def test_new_light_is_refused_where_conditions_are_films(release):
    with pytest.raises(UsageError, match="films show one light only"):
        SampleReader(release, dome_recipe(conditions="film", augment={"light": 0.5}))


def test_a_sample_prints_its_shapes(release):
    found = SampleReader(release, dome_recipe())[0]
    assert "video=(4, 64, 64, 3)" in repr(found)
    assert "mask=(1, 4, 1, 8, 8)" in repr(collate([found]))
