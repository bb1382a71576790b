import numpy as np
import pytest

from mergershift.evaluation.embeddings import project, proxy_a_distance, squared_mmd

N, F = 160, 12
GALAXIES = np.repeat(np.arange(N // 4), 4)


def features(shift: float = 0.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(N, F)) + shift


def test_the_projection_is_that_of_a_singular_value_decomposition() -> None:
    source, target = features(seed=1), features(2.0, seed=2) * np.arange(1, F + 1)
    plane = project(source, target, components=3)
    joint = np.concatenate([source, target])
    joint = (joint - joint.mean(0)) / joint.std(0)
    left, values, _ = np.linalg.svd(joint, full_matrices=False)
    found = np.concatenate([plane.source, plane.target])
    np.testing.assert_allclose(np.abs(found), np.abs(left[:, :3] * values[:3]), atol=1e-6)
    np.testing.assert_allclose(plane.explained, (values**2 / (values**2).sum())[:3], rtol=1e-6)


def test_the_same_features_give_the_same_projection() -> None:
    for first, second in zip(
        project(features(), features(1.0)), project(features(), features(1.0)), strict=True
    ):
        np.testing.assert_array_equal(first, second)


def test_constant_features_are_ignored() -> None:
    source, target = features(seed=1), features(1.0, seed=2)
    constant = np.full((N, 2), 0.1)
    padded = np.concatenate([source, constant], axis=1), np.concatenate([target, constant], axis=1)
    assert project(*padded).source.shape == (N, 2)
    assert squared_mmd(*padded, GALAXIES, GALAXIES) == squared_mmd(source, target, GALAXIES, GALAXIES)
    assert proxy_a_distance(np.ones((8, 2)), np.ones((8, 2)), np.arange(8), np.arange(8)) == 0


def brute_force_mmd(source, target, source_galaxies, target_galaxies) -> float:
    joint = np.concatenate([source, target])
    joint = (joint - joint.mean(0)) / joint.std(0)
    galaxies, domain = np.concatenate([source_galaxies, target_galaxies]), np.repeat([0, 1], len(source))
    pairs = [(i, j) for i in range(len(joint)) for j in range(len(joint)) if galaxies[i] != galaxies[j]]
    distance = {(i, j): np.sqrt(((joint[i] - joint[j]) ** 2).sum()) for i, j in pairs}
    width = np.median(list(distance.values()))
    means = {}
    for first, second in ((0, 0), (1, 1), (0, 1)):
        chosen = [distance[i, j] for i, j in pairs if (domain[i], domain[j]) == (first, second)]
        means[first, second] = np.exp(-np.square(chosen) / (2 * width**2)).mean()
    return means[0, 0] + means[1, 1] - 2 * means[0, 1]


def test_mmd_is_the_double_sum_over_pairs_of_different_galaxies() -> None:
    source, target = features(seed=1)[:24], features(0.5, seed=2)[:24]
    found = squared_mmd(source, target, GALAXIES[:24], GALAXIES[:24] + 3)
    assert found == pytest.approx(brute_force_mmd(source, target, GALAXIES[:24], GALAXIES[:24] + 3), rel=1e-9)


def test_mmd_is_unbiased_for_equal_distributions() -> None:
    found = [squared_mmd(features(seed=i), features(seed=1000 + i), GALAXIES, GALAXIES) for i in range(30)]
    assert min(found) < 0 < max(found)
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(30)


def test_both_distances_see_a_shift_and_only_a_shift() -> None:
    near = features(seed=1), features(seed=2), GALAXIES, GALAXIES
    far = features(seed=1), features(3.0, seed=2), GALAXIES, GALAXIES
    assert abs(squared_mmd(*near)) < 0.01
    assert squared_mmd(*far) > 0.3
    assert proxy_a_distance(*near) < 0.5
    assert proxy_a_distance(*far) > 1.95


def test_scale_does_not_matter() -> None:
    source, target = features(seed=1), features(0.7, seed=2)
    scale = 10.0 ** np.arange(-3, F - 3)
    for distance in (squared_mmd, proxy_a_distance):
        plain = distance(source, target, GALAXIES, GALAXIES)
        assert distance(source * scale, target * scale, GALAXIES, GALAXIES) == pytest.approx(plain, rel=1e-6)


def test_a_galaxy_is_not_recognised_across_the_folds() -> None:
    """Random features that identify galaxy and domain carry no information about other galaxies."""
    rng = np.random.default_rng(3)
    source, target = (rng.normal(size=(N // 4, 40)).repeat(4, axis=0) for _ in range(2))
    assert proxy_a_distance(source, target, GALAXIES, GALAXIES) < 0.6


def test_distances_without_pairs_of_different_galaxies_are_nan() -> None:
    one = np.zeros(4, dtype=int)
    assert np.isnan(squared_mmd(features()[:4], features(1.0)[:4], one, one))
    assert np.isnan(proxy_a_distance(features()[:4], features(1.0)[:4], one, one))


@pytest.mark.parametrize("wrong", [np.zeros((3, F + 1)), np.zeros(F), np.zeros((0, F))])
def test_wrong_shapes_are_reported(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match="features of shapes"):
        project(features(), wrong)
    with pytest.raises(ValueError, match="galaxies of shape"):
        squared_mmd(features(), features(), GALAXIES[:-1], GALAXIES)
