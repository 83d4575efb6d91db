import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from evaluation.frechet import distance
from evaluation.frechet.distance import Gaussian, frechet_distance
from evaluation.frechet.infinite import frechet_at_infinity, least_outputs, too_few
from evaluation.frechet.kid import kernel_distance, polynomial_mmd2
from evaluation.frechet.moments import LARGEST, Moments
from evaluation.frechet.samples import Samples
from tests.rule import golden_arrays, golden_facts


@pytest.fixture(scope="module")
def features() -> dict[str, np.ndarray]:
    stored = golden_arrays("frechet")
    return {**stored, "a300_plus100": stored["a300"] + 100}


PAIRS = list(golden_facts("frechet")["pairs"])
WIDTH = 4


def of_rows(rows: np.ndarray, ddof: int = 1) -> Gaussian:
    return Gaussian.of_samples(Samples.of(rows), ddof)


def between(one: np.ndarray, other: np.ndarray, ddof: int = 1) -> float:
    return frechet_distance(of_rows(one, ddof), of_rows(other, ddof))


def tables(fewest: int = 0, largest: float = 1000.0, most: int = 12) -> st.SearchStrategy:
    return st.integers(fewest, most).flatmap(
        lambda count: arrays(np.float64, (count, WIDTH), elements=st.floats(-largest, largest))
    )


def same(one: Moments, other: Moments) -> bool:
    return (
        one.count == other.count
        and np.array_equal(one.first, other.first)
        and np.array_equal(one.second, other.second)
    )


# Against the reference's numbers.


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize(("ddof", "key"), [(1, "cov_Nminus1"), (0, "cov_N")])
def test_distances_are_exact(features, pair, ddof, key):
    """The README: 1e-9 relative where ranks are full, 5e-8 elsewhere, 1e-9 at zero."""
    one, other = (features[name] for name in pair.split("|"))
    tolerance = 5e-8 if min(len(one), len(other)) < one.shape[1] else 1e-9
    truth = golden_facts("frechet")["pairs"][pair][f"exact_nuclear_norm_{key}"]
    assert between(one, other, ddof) == pytest.approx(truth, rel=tolerance, abs=1e-9)


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("reference", ["pytorch_fid", "torch_fidelity"])
def test_fid_is_that_of_the_references(features, pair, reference):
    one, other = (features[name] for name in pair.split("|"))
    theirs = golden_facts("frechet")["pairs"][pair][reference]
    assert between(one, other) == pytest.approx(theirs, rel=1e-6, abs=1e-9)


def test_moments_alone_serve_where_covariances_are_singular(features):
    one, other = (Gaussian.of_moments(Moments.of(features[name])) for name in ("c40", "d40"))
    truth = golden_facts("frechet")["pairs"]["c40|d40"]["exact_nuclear_norm_cov_Nminus1"]
    assert frechet_distance(one, other) == pytest.approx(truth, rel=5e-8)


@pytest.mark.parametrize(("ddof", "truth"), [(0, "stylegan-v_frechet"), (1, "frechet_cov_Nminus1")])
def test_covariances_are_divided_as_asked(ddof, truth):
    example = golden_facts("fvd_math")["covariance_example"]
    one, other = np.array(example["x"]), np.array(example["y"])
    assert between(one, other, ddof) == pytest.approx(example["results"][truth], rel=1e-9)
    theirs = example["results"]["np.cov_N_x" if ddof == 0 else "np.cov_Nminus1_x"]
    np.testing.assert_allclose(Moments.of(one).covariance(ddof), theirs, rtol=0, atol=1e-14)


@pytest.mark.parametrize("case", list(golden_facts("frechet")["kid"]))
def test_kernel_distances_are_torch_fidelity_s(features, case):
    truth = golden_facts("frechet")["kid"][case]
    one, other = (features[name] for name in case.split("_")[1:3])
    found = kernel_distance(one, other, subsets=truth["subsets"], size=truth["size"])
    np.testing.assert_allclose(found.values, truth["per_subset"], rtol=0, atol=1e-12)
    assert found.mean == pytest.approx(truth["mean"], abs=1e-12)
    assert found.deviation == pytest.approx(truth["std"], abs=1e-12)


# Merging.


@settings(max_examples=50, deadline=None)
@given(tables(), tables(), tables())
def test_moments_merge_in_any_order_to_the_same_bits(one, other, third):
    whole = Moments.of(np.concatenate([one, other, third]))
    a, b, c = map(Moments.of, (one, other, third))
    assert same(a.merged(b).merged(c), whole)
    assert same(a.merged(b.merged(c)), whole)
    assert same(c.merged(a).merged(b), whole)


@settings(max_examples=50, deadline=None)
@given(tables(fewest=1), st.integers(0, 12), st.randoms(use_true_random=False))
def test_samples_merge_in_any_order_to_the_same_rows(rows, cut, chance):
    order = list(range(len(rows)))
    chance.shuffle(order)
    parts = Samples.of(rows[order[:cut]]).merged(Samples.of(rows[order[cut:]]))
    assert parts.count == len(rows)
    assert parts.rows.tobytes() == Samples.of(rows).rows.tobytes()


@settings(max_examples=50, deadline=None)
@given(tables(fewest=2))
def test_moments_are_numpy_s(rows):
    moments = Moments.of(rows)
    size = np.abs(rows).max(initial=1)
    np.testing.assert_allclose(moments.mean, rows.mean(axis=0), rtol=1e-12, atol=2e-10)
    np.testing.assert_allclose(moments.covariance(), np.cov(rows.T), rtol=1e-12, atol=2e-9 * size)


def test_chunks_change_nothing():
    rows = np.random.default_rng(0).normal(0, 30, (9000, 3)).astype(np.float32)
    whole = Moments.of(rows)
    parts = [Moments.of(rows[begin : begin + 7]) for begin in range(0, 9000, 7)]
    total = parts[0]
    for part in parts[1:]:
        total = total.merged(part)
    assert same(total, whole)


def test_float32_features_far_from_zero_lose_nothing():
    """Sums in float32 would cost 0.06 at an offset of 100 (the README)."""
    rows = np.random.default_rng(1).normal(5000, 1, (50, 3)).astype(np.float32)
    exact = np.cov((rows.astype(np.float64) - 5000).T)
    np.testing.assert_allclose(Moments.of(rows).covariance(), exact, rtol=1e-13)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -LARGEST])
def test_moments_refuse_numbers_off_their_grid(bad):
    with pytest.raises(ValueError, match="finite and below 1048576"):
        Moments.of(np.full((2, 3), bad))


def test_samples_refuse_what_is_no_number():
    with pytest.raises(ValueError, match="rows of finite numbers"):
        Samples.of(np.full((2, 3), np.nan))


@pytest.mark.parametrize("kind", [Moments, Samples])
def test_features_of_different_networks_are_not_merged(kind):
    with pytest.raises(ValueError, match="of 3 and of 4 numbers cannot be merged"):
        kind.of(np.zeros((1, 3))).merged(kind.of(np.zeros((1, 4))))


def test_one_vector_has_no_covariance():
    with pytest.raises(ValueError, match="no covariance; at least 2 have"):
        of_rows(np.zeros((1, 3)))
    with pytest.raises(ValueError, match="1 feature vectors have no covariance; at least 2 have"):
        Moments.of(np.zeros((1, 3))).covariance()


# What a distance is.


@settings(max_examples=50, deadline=None)
@given(tables(fewest=2))
def test_a_set_is_at_no_distance_from_itself(rows):
    scale = 1 + float(np.square(rows).sum())
    assert between(rows, rows) <= 1e-9 * scale


@settings(max_examples=50, deadline=None)
@given(tables(fewest=2), tables(fewest=2))
def test_the_distance_is_symmetric_and_not_negative(one, other):
    there, back = between(one, other), between(other, one)
    scale = 1 + float(np.square(one).sum() + np.square(other).sum())
    assert there >= 0
    assert there == pytest.approx(back, abs=1e-9 * scale)


@settings(max_examples=50, deadline=None)
@given(tables(fewest=2, largest=10), arrays(np.float64, WIDTH, elements=st.floats(-10, 10)))
def test_a_shift_costs_its_squared_length(rows, shift):
    assert between(rows, rows + shift) == pytest.approx(float(shift @ shift), abs=1e-6)


@settings(max_examples=50, deadline=None)
@given(tables(fewest=2, largest=10), tables(fewest=2, largest=10))
def test_a_common_shift_changes_nothing(one, other):
    assert between(one + 3, other + 3) == pytest.approx(between(one, other), abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_both_ways_to_a_nuclear_norm_agree(seed):
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(8, 8)) * 10.0 ** rng.uniform(-6, 0, 8)
    found = distance._nuclear_norm(matrix)
    assert found == pytest.approx(np.linalg.svd(matrix, compute_uv=False).sum(), rel=1e-10)


@pytest.mark.parametrize(("count", "width"), [(9, 20), (30, 4)])
@pytest.mark.parametrize("ddof", [0, 1])
def test_a_weighted_set_is_the_set_with_its_tables_repeated(count, width, ddof):
    rng = np.random.default_rng(3)
    one, other, reals = (Samples.of(rng.normal(size=(count, width))) for _ in range(3))
    drawn = one.merged(other).merged(one).merged(one)
    found, wanted = (way(drawn, ddof) for way in (Gaussian.of_weighted, Gaussian.of_samples))
    assert found.root.shape[1] <= 2 * count
    assert found.mean == pytest.approx(wanted.mean)
    assert found.root @ found.root.T == pytest.approx(wanted.root @ wanted.root.T)
    real = Gaussian.of_samples(reals)
    rough = frechet_distance(found, real, rough=True)
    assert rough == pytest.approx(frechet_distance(wanted, real), rel=1e-5)


def test_features_of_different_networks_are_not_compared():
    with pytest.raises(ValueError, match="of 3 and of 4 numbers cannot be compared"):
        between(np.zeros((5, 3)), np.zeros((5, 4)))


# The kernel's.


def test_subsets_larger_than_a_set_are_refused():
    with pytest.raises(ValueError, match="subsets of 6 cannot be drawn from 5"):
        kernel_distance(np.zeros((5, 3)), np.zeros((9, 3)), size=6)


def test_a_discrepancy_needs_two_vectors():
    with pytest.raises(ValueError, match="at least 2"):
        polynomial_mmd2(np.zeros((1, 3)), np.zeros((1, 3)))


# Few and infinitely many.


def test_extrapolation_removes_most_of_the_bias_of_few():
    """Outputs and reals of one distribution: their distance is 0."""
    rng = np.random.default_rng(2)
    width = 20
    reals = Samples.of(rng.normal(size=(20_000, width)))
    few = Samples.of(rng.normal(size=(least_outputs(width), width)))
    found = frechet_at_infinity(few, reals)
    assert found.distances[0] > found.distances[-1] > 0.1
    assert found.value < found.distances[-1] / 4
    assert found.counts == tuple(sorted(found.counts))
    assert (found.counts[0], found.counts[-1]) == (50, 100)


def test_extrapolation_needs_several_vectors_a_number():
    few = Samples.of(np.random.default_rng(3).normal(size=(99, 20)))
    with pytest.raises(ValueError, match=r"99 .* too few .* at least 100 are needed"):
        frechet_at_infinity(few, few)


@pytest.mark.parametrize(
    ("outputs", "reals", "word"), [(20, 900, "singular"), (900, 60, "bias"), (900, 100, "")]
)
def test_few_samples_are_warned_of(outputs, reals, word):
    warning = too_few(outputs, reals, 20)
    assert (word in warning) if word else warning == ""
