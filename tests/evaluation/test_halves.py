import numpy as np
import pytest

from mergershift.evaluation import HALVES, half_of

GALAXIES = np.repeat(np.arange(100, 145), 4)
LABELS = (GALAXIES < 115).astype(int)


def test_halves_share_no_galaxy_and_have_the_same_share_of_mergers() -> None:
    choosing, judging = (set(half_of(half, GALAXIES, LABELS, 68).tolist()) for half in HALVES)
    assert not choosing & judging
    assert choosing | judging == set(range(100, 145))
    assert [sum(galaxy < 115 for galaxy in half) for half in (choosing, judging)] == [7, 8]
    assert [sum(galaxy >= 115 for galaxy in half) for half in (choosing, judging)] == [15, 15]


def test_halves_depend_on_galaxies_and_seed_alone() -> None:
    order = np.random.default_rng(0).permutation(len(GALAXIES))
    expected = half_of("judging", GALAXIES, LABELS, 68)
    np.testing.assert_array_equal(half_of("judging", GALAXIES[order], LABELS[order], 68), expected)
    np.testing.assert_array_equal(half_of("judging", GALAXIES[::4], LABELS[::4].astype(float), 68), expected)
    assert set(half_of("judging", GALAXIES, LABELS, 69)) != set(expected)


def test_the_only_galaxy_of_a_class_is_in_both_halves() -> None:
    for half in HALVES:
        assert 7 in half_of(half, [7, 7, 8, 9], [1, 1, 0, 0], 0)


def test_galaxies_and_labels_have_to_match() -> None:
    with pytest.raises(ValueError, match=r"galaxies \(2,\) and labels \(1,\)"):
        half_of("judging", [1, 2], [0], 0)
