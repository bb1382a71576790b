import numpy as np
import pandas as pd
from evaluation.samples import STRUCTURE, predictions

from mergershift.evaluation import unique_renderings


def test_keeps_the_original_renderings_of_mergers_and_all_non_mergers() -> None:
    table = predictions()
    kept = unique_renderings(table)
    per_role = (STRUCTURE.mergers + STRUCTURE.non_mergers) * STRUCTURE.CAMERAS
    assert len(kept) == 2 * per_role
    assert (kept["block"] == 0).all()
    assert not kept.duplicated(["role", "galaxy", "camera"]).any()


def test_keeps_the_first_copy_by_row_number_if_the_original_is_missing() -> None:
    table = predictions()
    table = table[(table["role"] == "source") & ~((table["galaxy"] == 2) & (table["block"] < 3))]
    shuffled = table.sample(frac=1, random_state=0)
    kept = unique_renderings(shuffled)
    assert (kept.loc[kept["galaxy"] == 2, "block"] == 3).all()
    assert np.count_nonzero(kept["galaxy"] == 2) == STRUCTURE.CAMERAS
    assert set(kept["row"]) == set(unique_renderings(table)["row"])


def test_keeps_every_seed() -> None:
    table = predictions()
    both = pd.concat([table.assign(seed=0), table.assign(seed=1)], ignore_index=True)
    assert len(unique_renderings(both)) == 2 * len(unique_renderings(table))


def test_duplicate_index_labels_do_not_matter() -> None:
    table = predictions()
    doubled = pd.concat([table.assign(seed=0), table.assign(seed=1)])
    kept = unique_renderings(doubled)
    assert len(kept) == 2 * len(unique_renderings(table))
    pd.testing.assert_frame_equal(
        kept.reset_index(drop=True), unique_renderings(doubled.reset_index(drop=True)).reset_index(drop=True)
    )
