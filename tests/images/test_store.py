"""Tests of which rows of the prepared images are read."""

from pathlib import Path

import pytest
from images.samples import LABELS, NOISY, numbers, write_prepared

from mergershift.archive import Domain


def test_a_rotated_copy_is_not_a_separate_rendering(tmp_path: Path) -> None:
    prepared = write_prepared(tmp_path / "images")
    assert prepared.rows("validation").tolist() == [4, 5, 12, 13, 22, 23, 24]
    assert prepared.rows("validation", unique=True).tolist() == [4, 5, 22, 23, 24]
    # Copies are recognised by galaxy and camera in every part of the split.
    assert prepared.rows("test", unique=True).tolist() == [6, 7, 25, 26, 27]


@pytest.mark.parametrize("disjoint", [False, True])
def test_a_domain_trains_on_its_own_galaxies(tmp_path: Path, disjoint: bool) -> None:
    prepared = write_prepared(tmp_path / "images", disjoint=disjoint)
    source, target = (set(prepared.rows("train", trains=domain)) for domain in ("source", "target"))
    assert source | target == set(prepared.rows("train"))
    assert source & target == (set() if disjoint else set(prepared.rows("train")))


def test_images_and_labels_are_those_of_the_requested_rows(tmp_path: Path) -> None:
    prepared = write_prepared(tmp_path / "images")
    rows = prepared.rows("validation")[::-1]
    for domain, offset in ((Domain.PRISTINE, 0), (Domain.NOISY, NOISY)):
        found = prepared.labelled(domain, rows)
        assert numbers(found.images) == (rows + offset).tolist()
        assert found.labels.tolist() == LABELS[rows].tolist()
