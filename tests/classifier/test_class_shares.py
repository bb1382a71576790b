from pathlib import Path

import numpy as np
import pytest
from images.samples import write_prepared
from training.samples import config_of

from mergershift.adaptation.base import ClassShares
from mergershift.classifier.class_shares import class_shares

UNIQUE = (6 / 10, 4 / 10)
REPEATED = (6 / 14, 8 / 14)


@pytest.mark.parametrize(
    ("weights", "rows", "trained"),
    [("none", "all", REPEATED), ("none", "unique", UNIQUE), ("balanced", "all", (0.5, 0.5))],
)
def test_renderings_count_once_and_the_loss_as_it_is(
    tmp_path: Path, weights: str, rows: str, trained: tuple[float, ...]
) -> None:
    prepared = write_prepared(tmp_path / "images")
    assert class_shares(config_of(class_weights=weights, training_rows=rows), prepared) == ClassShares(
        trained, UNIQUE
    )


def test_the_targets_labels_are_not_read(tmp_path: Path) -> None:
    prepared = write_prepared(tmp_path / "images")
    (prepared.folder / "noisy-labels.npy").unlink()
    assert class_shares(config_of(), prepared).expected == UNIQUE


def test_a_class_may_have_no_images(tmp_path: Path) -> None:
    prepared = write_prepared(tmp_path / "images")
    labels = np.load(prepared.folder / "pristine-labels.npy")
    np.save(prepared.folder / "pristine-labels.npy", np.zeros_like(labels))
    assert class_shares(config_of(), prepared).expected == (1.0, 0.0)
