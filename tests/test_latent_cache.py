"""The latent cache: what was encoded once is what would be encoded again."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from catalog.lake import Lake
from flows.latents import require_cacheable
from infra.errors import LakeError, UsageError
from tests.training_release import dome_recipe, dome_release
from training.data import ReleaseClips
from training.samples.cache import LatentCache, build_cache, cache_standing
from training.samples.read import SampleReader
from training.samples.sample import collate

LENGTHS = (11, 20)


@dataclass
class Means:
    """Latents that are the mean colours of 8 x 8 pixels."""

    channels: int = 3
    factor: int = 8
    scale: float = 1.0
    digest: str = "0123abcd"
    encoded: int = 0

    def moments(self, pictures):
        assert len(pictures) <= 8
        self.encoded += len(pictures)
        mean = torch.nn.functional.avg_pool2d(pictures, 8)
        return mean, torch.full_like(mean, 0.5)

    def decode(self, latents):
        raise NotImplementedError


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return dome_release(tmp_path_factory.mktemp("cached"), LENGTHS)


@pytest.fixture
def lake(tmp_path):
    return Lake.open(tmp_path / "lake", create=True)


@pytest.fixture
def cache(lake):
    return LatentCache(lake, Means().digest, 64)


def _recipe(**augment):
    return dome_recipe(conditions="film", augment={"flip": 0, "zoom": 0, "light": 0} | augment)


@pytest.mark.parametrize("flip", [0, 1])
def test_cached_latents_are_those_of_the_samples_pictures(release, cache, flip):
    build_cache(cache, release, Means(), mirrored=True)
    cached = SampleReader(release, _recipe(flip=flip), cache=cache)
    encoded = SampleReader(release, _recipe(flip=flip))
    for position in range(4):
        one, other = collate([cached[position]]), collate([encoded[position]])
        mean, deviation = Means().moments(other.video[0])
        expected = torch.cat([mean, deviation], dim=1)
        torch.testing.assert_close(one.moments[0], expected, atol=1e-3, rtol=0)
        assert one.video is None
        assert torch.equal(one.reference, other.reference)
        for name in ("mask", "shading", "landmarks"):
            assert torch.equal(getattr(one, name), getattr(other, name))


def test_only_what_is_missing_is_encoded(release, cache):
    codec, told = Means(), []
    before = cache_standing(cache, release, mirrored=False)
    assert (before.done, len(before.missing), before.bytes) == (0, 2, 0)
    after = build_cache(
        cache, release, codec, mirrored=False, progress=lambda *done: told.append(done)
    )
    assert (after.done, after.missing) == (2, ())
    assert after.bytes > sum(LENGTHS) * 6 * 64 * 2
    assert codec.encoded == sum(LENGTHS)
    assert told == [(0, 2), (1, 2), (2, 2)]
    next(cache.folder.iterdir()).unlink()
    assert len(cache_standing(cache, release, mirrored=False).missing) == 1
    build_cache(cache, release, codec, mirrored=True)
    assert codec.encoded > 2 * sum(LENGTHS)
    assert cache_standing(cache, release, mirrored=True).done == 4
    full = codec.encoded
    build_cache(cache, release, codec, mirrored=True)
    assert codec.encoded == full


def test_an_interrupted_entry_leaves_nothing_behind(release, cache):
    class Stops(Means):
        def moments(self, pictures):
            if self.encoded:
                raise KeyboardInterrupt
            return super().moments(pictures)

    with pytest.raises(KeyboardInterrupt):
        build_cache(cache, release, Stops(), mirrored=False)
    assert list(cache.folder.iterdir()) == []


def test_all_that_decides_the_latents_is_in_their_name(release, lake):
    clips = ReleaseClips(release)
    caches = [
        LatentCache(lake, codec, size, dtype)
        for codec, size, dtype in (
            ("a", 64, "float16"), ("b", 64, "float16"), ("a", 32, "float16"), ("a", 64, "float32")
        )
    ]  # fmt: skip
    paths = {cache.path(clips, 0) for cache in caches}
    paths |= {caches[0].path(clips, 1), caches[0].path(clips, 0, mirrored=True)}
    assert len(paths) == 6
    assert caches[0].path(ReleaseClips(release), 0) in paths


def test_missing_and_damaged_latents_are_noticed(release, cache):
    clips = ReleaseClips(release)
    with pytest.raises(LakeError, match="are missing"):
        cache.read(clips, 0, [0])
    build_cache(cache, release, Means(), mirrored=False)
    path = cache.path(clips, 0)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    last = clips.lengths[0] - 1
    assert cache.read(clips, 0, [0, last - 1]).shape == (2, 6, 8, 8)
    with pytest.raises(LakeError, match=f"damaged in frame {last}"):
        cache.read(clips, 0, [0, last])
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(LakeError, match="cannot be read"):
        cache.read(clips, 0, [0])
    np.save(path, np.zeros(3))
    with pytest.raises(LakeError, match="cannot be read"):
        cache.read(clips, 0, [0])


def test_changes_that_make_other_pictures_are_refused(release, cache):
    for change in ({"zoom": 0.1}, {"light": 0.5}):
        recipe = dome_recipe(augment={"flip": 0.5, "zoom": 0, "light": 0} | change)
        with pytest.raises(UsageError, match="must be 0 with it"):
            SampleReader(release, recipe, cache=cache)


def test_latents_of_another_codec_are_refused(release, cache):
    with pytest.raises(UsageError, match="for the codec 0123abcd, not other"):
        build_cache(cache, release, Means(digest="other"), mirrored=False)


def test_what_is_to_be_changed_for_the_cache_is_one_command():
    recipe = dome_recipe(augment={"zoom": 0.2, "colour": 0, "light": 0.5})
    with pytest.raises(UsageError, match=r"draws zoom = 0.2 and light = 0.5 anew") as caught:
        require_cacheable(recipe)
    assert caught.value.hint == (
        "limelight train RELEASE --recipe lcvd --cache"
        " --set data.augment.zoom=0 --set data.augment.light=0"
    )
