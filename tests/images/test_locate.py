"""Prepared images are taken only for the split and the archive that they were made for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cells.samples import config_of, prepare_tiny, write_checkout

from mergershift.core.errors import UserError
from mergershift.images import Prepared
from mergershift.images.locate import prepared_images


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prepared:
    """Of an archive whose provenance nobody knows, under the split by galaxy with seed 68."""
    monkeypatch.chdir(write_checkout(tmp_path / "checkout"))
    return prepare_tiny(config_of())


def test_images_are_found_for_the_split_they_were_prepared_with(prepared: Prepared) -> None:
    found = prepared_images(config_of())
    np.testing.assert_array_equal(found.rows("test"), prepared.rows("test"))


@pytest.mark.parametrize("change", [{"seed": 1}, {"disjoint_domains": False}, {"train": 0.6}])
def test_images_of_another_split_are_refused(prepared: Prepared, change: dict[str, object]) -> None:
    """A row that is for training under one is for testing under the other."""
    split = config_of().split
    with pytest.raises(UserError):
        prepared_images(config_of(split=split.model_copy(update=change)))


def test_images_of_an_archive_that_is_not_in_the_data_folder_any_more_are_refused(
    prepared: Prepared, tmp_path: Path
) -> None:
    data = tmp_path / "checkout/data"
    data.mkdir()
    prepared_images(config_of())
    mock = {"kind": "mock", "seed": 3, "mergers": 12, "non_mergers": 60, "mock_version": 1}
    (data / "PROVENANCE.json").write_text(json.dumps(mock | {"filter_sets": ["two"], "fits": False}))
    with pytest.raises(UserError):
        prepared_images(config_of())
