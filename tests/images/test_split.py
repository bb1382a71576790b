"""Tests of the split by galaxy, and of the published split with its known counts."""

import numpy as np
import pytest

from mergershift.archive import PUBLISHED_ROWS, Domain, RowStructure
from mergershift.config import SplitConfig
from mergershift.images import audit, first_renderings, leakage, row_table
from mergershift.images.split import split_of

BY_GALAXY = SplitConfig(kind="by_galaxy", seed=68, train=0.7, validation=0.1, disjoint_domains=False)
LEAKY = SplitConfig(
    kind="published_leaky", seed=5, train=0.7000518605, validation=0.0999611046, disjoint_domains=False
)


def test_no_galaxy_is_in_two_parts_of_the_split():
    table = row_table(PUBLISHED_ROWS, BY_GALAXY)
    assert table.groupby("galaxy")["split"].nunique().max() == 1


@pytest.mark.parametrize("label", [0, 1])
def test_classes_are_split_alike(label):
    table = row_table(PUBLISHED_ROWS, BY_GALAXY)[PUBLISHED_ROWS.labels == label]
    shares = table.groupby("galaxy")["split"].first().value_counts(normalize=True)
    assert shares["train"] == pytest.approx(0.7, abs=0.003)
    assert shares["validation"] == pytest.approx(0.1, abs=0.003)


def test_split_depends_on_its_seed():
    other = row_table(PUBLISHED_ROWS, BY_GALAXY.model_copy(update={"seed": 69}))
    assert (other["split"] != row_table(PUBLISHED_ROWS, BY_GALAXY)["split"]).any()


def test_published_split_has_the_published_counts():
    split = row_table(PUBLISHED_ROWS, LEAKY)["split"]
    assert split.value_counts().to_dict() == {"train": 10_799, "test": 3_085, "validation": 1_542}
    test = PUBLISHED_ROWS.labels[split == "test"]
    assert (np.count_nonzero(test == 1), np.count_nonzero(test == 0)) == (1_660, 1_425)


def test_published_split_leaks_and_ours_does_not():
    leaks = leakage(PUBLISHED_ROWS, LEAKY)
    assert leaks["mergers"].fraction == 1.0
    assert leaks["non-mergers"].fraction == pytest.approx(0.969, abs=0.0005)
    assert [leak.seen_in_training for leak in leakage(PUBLISHED_ROWS, BY_GALAXY).values()] == [0, 0]


def test_audit_of_the_real_galaxies(published_metadata):
    """The row structure and the published subhalo ids give the same leakage."""
    ids = np.load(published_metadata / "subsamples_ID.npy")
    labels = np.load(published_metadata / "subsamples_y.npy")[:, 0]
    for rule in (LEAKY, BY_GALAXY):
        table = row_table(RowStructure.from_labels(labels), rule).assign(galaxy=ids)
        assert audit(table, labels) == leakage(PUBLISHED_ROWS, rule)


def test_disjoint_domains_share_no_training_galaxy():
    table = row_table(PUBLISHED_ROWS, BY_GALAXY.model_copy(update={"disjoint_domains": True}))
    source, target = (set(table.loc[table["trains"] == name, "galaxy"]) for name in ("source", "target"))
    assert source
    assert target
    assert not source & target
    assert source | target == set(table.loc[table["split"] == "train", "galaxy"])


def test_unique_renderings_are_galaxies_times_cameras():
    table = row_table(PUBLISHED_ROWS, BY_GALAXY)
    chosen = table[first_renderings(table)]
    assert len(chosen) == 406 * 4 + 1827 * 4 - 2
    assert (chosen["block"] == 0).all()


def test_too_few_galaxies_are_refused():
    with pytest.raises(ValueError, match="2 mergers are too few"):
        row_table(RowStructure(2, 40), BY_GALAXY)


def test_the_split_of_2021_permutes_the_domains_independently():
    rule = SplitConfig(
        kind="published_leaky",
        seed=1,
        train=0.7,
        validation=0.0999611046,
        disjoint_domains=False,
        independent_domains=True,
    )
    table = row_table(PUBLISHED_ROWS, rule)
    for domain in Domain:
        counts = split_of(table, domain).value_counts().to_dict()
        assert counts == {"train": 10_798, "test": 3_086, "validation": 1_542}
    expected = np.random.RandomState(1).permutation(15_426)[:10_798]
    assert sorted(table.index[split_of(table, Domain.PRISTINE) == "train"]) == sorted(expected)
    trained, tested = split_of(table, Domain.PRISTINE) == "train", split_of(table, Domain.NOISY) == "test"
    assert (trained & tested).sum() / tested.sum() == pytest.approx(0.7, abs=0.02)
    assert rule.rule == "published_leaky, independent domains"
    with pytest.raises(ValueError, match="independent_domains requires kind published_leaky"):
        SplitConfig.model_validate(rule.model_dump() | {"kind": "by_galaxy"})


def test_a_common_split_is_recorded_as_before():
    assert "independent_domains" not in LEAKY.model_dump()
    assert "split_noisy" not in row_table(PUBLISHED_ROWS, LEAKY)
