"""Tests of the conversion of archive files to prepared images."""

import hashlib
import json
import shutil
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from archive.samples import LARGER, images_of, write_sample

from mergershift.archive import DATA_SETS, Domain, RowStructure, write_metadata
from mergershift.archive.arrangement import FoundRows
from mergershift.config import SplitConfig
from mergershift.core.errors import UserError
from mergershift.images import Prepared, prepare

RULE = SplitConfig(kind="by_galaxy", seed=68, train=0.7, validation=0.1, disjoint_domains=False)
PRISTINE = DATA_SETS["two", Domain.PRISTINE]


@pytest.fixture
def folder(tmp_path):
    return write_sample(tmp_path / "data", LARGER)


@pytest.mark.parametrize("block", [1, 10**9])
def test_prepared_images_are_the_archives_in_single_precision(folder, tmp_path, monkeypatch, block):
    monkeypatch.setattr(import_module("mergershift.images.prepare"), "BLOCK_BYTES", block)
    prepare(folder, "two", RULE, tmp_path / "out")
    prepared = Prepared(tmp_path / "out")
    for domain in Domain:
        stored = np.load(tmp_path / "out" / f"{domain}-images.npy")
        np.testing.assert_array_equal(stored, images_of(DATA_SETS["two", domain], LARGER).astype("float32"))
        rows = np.array([3, 0, LARGER.rows - 1])
        np.testing.assert_array_equal(prepared.images(domain, rows).numpy(), stored[rows])
        assert prepared.labelled(domain, rows).labels.tolist() == LARGER.labels[rows].tolist()


@pytest.mark.parametrize("disjoint", [False, True])
def test_statistics_come_from_the_rows_that_the_source_trains_on(folder, tmp_path, disjoint):
    prepare(folder, "two", RULE.model_copy(update={"disjoint_domains": disjoint}), tmp_path / "out")
    prepared = Prepared(tmp_path / "out")
    rows = prepared.rows("train", trains="source", unique=True)
    assert len(rows) < (1 if not disjoint else 0.6) * (prepared.table["split"] == "train").sum() + 1
    statistics = json.loads((tmp_path / "out" / "statistics.json").read_text())
    for domain in Domain:
        pixels = images_of(DATA_SETS["two", domain], LARGER)[rows]
        np.testing.assert_allclose(statistics[domain]["mean"], pixels.mean((0, 2, 3)), rtol=1e-9)
        np.testing.assert_allclose(statistics[domain]["std"], pixels.std((0, 2, 3)), rtol=1e-9)


def test_both_formats_give_the_same_prepared_images(folder, tmp_path):
    write_sample(tmp_path / "fits", LARGER, formats=("fits",))
    prepare(folder, "two", RULE, tmp_path / "a")
    prepare(tmp_path / "fits", "two", RULE, tmp_path / "b")
    assert Prepared(tmp_path / "a").facts["data_hash"] == Prepared(tmp_path / "b").facts["data_hash"]


def test_data_hash_depends_on_every_pixel(folder, tmp_path):
    prepare(folder, "two", RULE, tmp_path / "a")
    images = np.load(folder / PRISTINE.images_name, mmap_mode="r+")
    images[5, 1, 40, 40] += 1
    del images
    prepare(folder, "two", RULE, tmp_path / "b")
    assert Prepared(tmp_path / "a").facts["data_hash"] != Prepared(tmp_path / "b").facts["data_hash"]


def test_unknown_provenance_is_not_called_real(folder, tmp_path):
    prepare(folder, "two", RULE, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "prepared.json").read_text())["provenance"] == {"kind": "unknown"}


def test_nan_pixels_are_refused_and_no_output_is_left(folder, tmp_path):
    images = np.load(folder / PRISTINE.images_name, mmap_mode="r+")
    images[77, 0, 3, 3] = np.nan
    del images
    with pytest.raises(UserError, match="row 77 has NaN or infinite pixels"):
        prepare(folder, "two", RULE, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_labels_that_differ_between_domains_are_refused(folder, tmp_path):
    noisy = DATA_SETS["two", Domain.NOISY]
    np.save(folder / noisy.labels_names[0], 1 - LARGER.labels)
    with pytest.raises(UserError, match="labels differ"):
        prepare(folder, "two", RULE, tmp_path / "out")


def test_the_error_for_missing_prepared_images_names_the_command(tmp_path):
    with pytest.raises(UserError, match="mergershift prepare"):
        Prepared(tmp_path)


FEW, AS_MANY_ROWS = RowStructure(mergers=3, non_mergers=8), RowStructure(mergers=4, non_mergers=3)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(tmp_path_factory.mktemp("few"), FEW)


@pytest.mark.parametrize("changed", ["pristine", "noisy", "labels"])
def test_data_hash_covers_both_domains_and_the_labels(few: Path, tmp_path: Path, changed: str) -> None:
    rule = RULE.model_copy(update={"train": 0.34, "validation": 0.33})
    prepare(few, "two", rule, tmp_path / "a")
    other = shutil.copytree(few, tmp_path / "other")
    if changed == "labels":
        for domain in Domain:
            np.save(other / DATA_SETS["two", domain].labels_names[0], AS_MANY_ROWS.labels)
    else:
        images = np.load(other / DATA_SETS["two", Domain(changed)].images_name, mmap_mode="r+")
        images[5, 1, 40, 40] += 1
        del images
    prepare(other, "two", rule, tmp_path / "b")
    assert Prepared(tmp_path / "a").facts["data_hash"] != Prepared(tmp_path / "b").facts["data_hash"]


def test_data_hash_covers_galaxies_and_split_that_metadata_alone_determine(few: Path, tmp_path: Path) -> None:
    rule = RULE.model_copy(update={"train": 0.34, "validation": 0.33})
    folder = shutil.copytree(few, tmp_path / "data")
    found = []
    # Two of the non-mergers exchange a camera.
    exchanged = FEW.galaxy.copy()
    exchanged[[-1, -5]] = exchanged[[-5, -1]]
    for number, galaxy in enumerate((None, FEW.galaxy, exchanged, FEW.galaxy)):
        if galaxy is not None:
            rows = FoundRows(FEW.labels, galaxy, FEW.camera, FEW.block, "metadata")
            write_metadata(folder, rows, stage=[""] * FEW.rows, log_mstar=[0.0] * FEW.rows)
        prepare(folder, "two", rule, tmp_path / str(number))
        found.append(Prepared(tmp_path / str(number)).facts["data_hash"])
    assert found[0] == found[1] == found[3] != found[2]
    parts = [np.load(tmp_path / "2" / f"{domain}-images.npy").tobytes() for domain in Domain]
    parts.append(np.load(tmp_path / "2" / "pristine-labels.npy").tobytes())
    pixels = hashlib.sha256("".join(hashlib.sha256(part).hexdigest() for part in parts).encode()).hexdigest()
    assert found[0] == pixels, "in the published order the hash is that of pixels and labels alone"


def test_channels_in_another_order_are_prepared_in_the_named_one_and_recorded(tmp_path: Path) -> None:
    folder = write_sample(tmp_path / "data", FEW, filter_sets=("two", "three"))
    rule = RULE.model_copy(update={"train": 0.34, "validation": 0.33})
    prepare(folder, "three", rule, tmp_path / "a")
    three = DATA_SETS["three", Domain.PRISTINE]
    np.save(folder / three.images_name, np.load(folder / three.images_name)[:, [0, 2, 1]])
    prepare(folder, "three", rule, tmp_path / "b")
    named, other = Prepared(tmp_path / "a").facts, Prepared(tmp_path / "b").facts
    assert named["data_hash"] == other["data_hash"]
    assert named["reading"]["channels.pristine"].startswith("f814w,f160w,f356w (the same images as in")
    assert other["reading"]["channels.pristine"].startswith("f814w,f356w,f160w (the same images as in")
    assert not other["warnings"]


def test_a_noisy_file_of_other_galaxies_is_refused(few: Path, tmp_path: Path) -> None:
    rule = RULE.model_copy(update={"train": 0.34, "validation": 0.33})
    folder = shutil.copytree(few, tmp_path / "data")
    path = folder / DATA_SETS["two", Domain.NOISY].images_name
    np.save(path, np.load(path)[np.random.default_rng(0).permutation(FEW.rows)])
    with pytest.raises(UserError, match="its rows show other galaxies than those of"):
        prepare(folder, "two", rule, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    # Constant images decide nothing.
    np.save(path, np.zeros_like(np.load(path)))
    prepare(folder, "two", rule, tmp_path / "out")
    (warning,) = Prepared(tmp_path / "out").facts["warnings"]
    assert "too few images that are not constant" in warning


def test_rows_in_another_order_are_split_by_what_the_pixels_show(few: Path, tmp_path: Path) -> None:
    rule = RULE.model_copy(update={"train": 0.34, "validation": 0.33})
    folder = shutil.copytree(few, tmp_path / "data")
    order = np.random.default_rng(0).permutation(FEW.rows)
    for domain in Domain:
        data_set = DATA_SETS["two", domain]
        for name in (data_set.images_name, data_set.labels_names[0]):
            np.save(folder / name, np.load(folder / name)[order])
    prepare(folder, "two", rule, tmp_path / "out")
    prepared = Prepared(tmp_path / "out")
    assert prepared.facts["reading"]["galaxies"] == "renderings"
    (warning,) = prepared.facts["warnings"]
    assert "two cameras of a galaxy can be in training and in test" in warning
    assert "data metadata --from DIR" in warning
    rendering = (FEW.galaxy * 4 + FEW.camera)[order]
    assert prepared.table.groupby(rendering)["split"].nunique().max() == 1
    test = prepared.rows("test", unique=True)
    assert len(test) == len(set(rendering[test])) == len(set(rendering[prepared.rows("test")]))
