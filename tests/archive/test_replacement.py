from __future__ import annotations

import os
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from archive.samples import STRUCTURE, write_sample

from mergershift.archive import DATA_SETS, Domain
from mergershift.archive.manifest import differences, published_files, take
from mergershift.archive.mock.make import make_mock, needed_bytes
from mergershift.archive.provenance import (
    ArchiveProvenance,
    MockProvenance,
    read_provenance,
    require_same_origin,
    write_provenance,
)
from mergershift.archive.replacement import beside, fresh, locked, recover, replace_folder
from mergershift.core.errors import UserError

MOCK = MockProvenance(
    seed=1,
    mergers=STRUCTURE.mergers,
    non_mergers=STRUCTURE.non_mergers,
    mock_version=1,
    filter_sets=("two",),
    fits=False,
)
IMAGES = DATA_SETS["two", Domain.PRISTINE].images_name


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Replace the mock universe by samples; lists the seeds that were requested."""
    seeds: list[int] = []

    def write_archive(
        folder: Path, *, seed: int, filter_sets: tuple[str, ...], fits: bool, **_: object
    ) -> None:
        seeds.append(seed)
        assert not any(folder.iterdir())
        write_sample(folder, STRUCTURE, filter_sets, ("npy", "fits") if fits else ("npy",), seed)
        (folder / "metadata.ecsv").write_text(f"of seed {seed}")

    monkeypatch.setattr("mergershift.archive.mock.write_archive", write_archive)
    return seeds


def with_(**changes: object) -> MockProvenance:
    return MOCK.model_copy(update=changes)


def test_provenance_is_read_as_written(data: Path) -> None:
    data.mkdir()
    assert read_provenance(data) is None
    for provenance in (
        MOCK.with_files({"b": "1", "a": "2"}),
        ArchiveProvenance(address="https://a.b", files={"x": "3"}),
    ):
        write_provenance(data, provenance)
        assert read_provenance(data) == provenance
        assert [path.name for path in data.iterdir()] == ["PROVENANCE.json"]


@pytest.mark.parametrize(
    "text", ["", "{}", '{"kind": "real"}', '{"kind": "archive", "address": "a", "date": "x"}']
)
def test_broken_provenance_is_an_error(data: Path, text: str) -> None:
    data.mkdir()
    (data / "PROVENANCE.json").write_text(text)
    with pytest.raises(UserError, match=r"PROVENANCE\.json"):
        read_provenance(data)


def test_unknown_keys_in_provenance_are_an_error(data: Path) -> None:
    data.mkdir()
    write_provenance(data, MOCK)
    path = data / "PROVENANCE.json"
    path.write_text(path.read_text().replace('"seed"', '"sed": 3, "seed"'))
    with pytest.raises(UserError, match="sed"):
        read_provenance(data)


def test_an_identical_mock_is_made_only_once(data: Path, written: list[int]) -> None:
    assert make_mock(data, MOCK)
    assert not make_mock(data, MOCK)
    assert written == [1]
    found = read_provenance(data)
    assert found is not None
    assert found.files == take(published_files(data))
    assert [path.name for path in data.parent.iterdir()] == ["data"]


def test_a_damaged_mock_is_made_again(data: Path, written: list[int]) -> None:
    make_mock(data, MOCK)
    content = bytearray((data / IMAGES).read_bytes())
    content[9999] ^= 1
    (data / IMAGES).write_bytes(content)
    assert make_mock(data, MOCK)
    assert written == [1, 1]
    found = read_provenance(data)
    assert found is not None
    assert not differences(data, found.files)


def test_extending_a_mock_needs_no_replace_option_but_reducing_it_does(
    data: Path, written: list[int]
) -> None:
    make_mock(data, MOCK)
    assert make_mock(data, with_(filter_sets=("two", "three"), fits=True))
    for less, what in (
        (with_(filter_sets=("two", "three")), "FITS"),
        (with_(filter_sets=("two",), fits=True), "three"),
    ):
        with pytest.raises(UserError, match=f"{what}.*in addition"):
            make_mock(data, less)
    assert len(written) == 2


@pytest.mark.parametrize(
    "wanted",
    [
        with_(seed=2),
        with_(mergers=3),
        with_(non_mergers=34),
        with_(mock_version=2),
        ArchiveProvenance(address="https://a.b"),
    ],
)
def test_another_provenance_is_refused(
    data: Path, written: list[int], wanted: MockProvenance | ArchiveProvenance
) -> None:
    make_mock(data, MOCK)
    with pytest.raises(UserError, match="--replace"):
        require_same_origin(data, wanted, replace=False)
    require_same_origin(data, wanted, replace=True)


def test_unknown_and_broken_provenance_are_refused(data: Path, written: list[int]) -> None:
    write_sample(data)
    before = take(data.iterdir())
    with pytest.raises(UserError, match="unknown provenance"):
        make_mock(data, MOCK)
    (data / "PROVENANCE.json").write_text("{}")
    with pytest.raises(UserError, match=r"PROVENANCE\.json"):
        make_mock(data, MOCK)
    (data / "PROVENANCE.json").unlink()
    assert take(data.iterdir()) == before
    assert written == []
    assert make_mock(data, MOCK, replace=True)


def test_replacing_leaves_linked_files_and_foreign_files_alone(
    data: Path, written: list[int], tmp_path: Path
) -> None:
    make_mock(data, MOCK)
    (data / "notes.txt").write_text("mine")
    (data / "own").mkdir()
    (data / "own" / "x").write_text("mine too")
    cache = tmp_path / "cache"
    cache.mkdir()
    for path in published_files(data):
        (cache / path.name).hardlink_to(path)
        path.chmod(0o444)
    before = take(cache.iterdir())
    assert make_mock(data, with_(seed=2), replace=True)
    assert take(cache.iterdir()) == before
    assert take([data / IMAGES]) != {IMAGES: before[IMAGES]}
    assert (data / "metadata.ecsv").read_text() == "of seed 2"
    assert (data / "notes.txt").read_text() == "mine"
    assert (data / "own" / "x").read_text() == "mine too"


def test_a_linked_folder_is_replaced_at_its_target(data: Path, written: list[int], tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    data.symlink_to(disk / "galaxies")
    make_mock(data, MOCK)
    assert data.is_symlink()
    assert (disk / "galaxies" / IMAGES).is_file()
    assert [path.name for path in disk.iterdir()] == ["galaxies"]


def test_a_failure_leaves_the_old_archive(
    data: Path, written: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_mock(data, MOCK)
    before = take(data.iterdir())

    def fail(folder: Path, **_: object) -> None:
        (folder / IMAGES).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("mergershift.archive.mock.write_archive", fail)
    with pytest.raises(KeyboardInterrupt):
        make_mock(data, with_(seed=2), replace=True)
    assert take(data.iterdir()) == before


@pytest.mark.parametrize("breaks_at", [1, 2])
def test_an_interrupted_replacement_loses_nothing(
    data: Path, written: list[int], monkeypatch: pytest.MonkeyPatch, breaks_at: int
) -> None:
    make_mock(data, MOCK)
    before = take(data.iterdir())
    renamed: list[str] = []
    rename = os.rename

    def breaking(source: Path, target: Path) -> None:
        renamed.append(str(target))
        if len(renamed) == breaks_at:
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(os, "rename", breaking)
    with pytest.raises(KeyboardInterrupt):
        make_mock(data, with_(seed=2), replace=True)
    monkeypatch.undo()
    assert data.exists() == (breaks_at == 1)
    recover(data)
    assert take(data.iterdir()) == before


def test_a_replacement_interrupted_at_its_end_is_completed(
    data: Path, written: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_mock(data, MOCK)

    def breaking(path: Path, **_: object) -> None:
        if path.exists():
            raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", breaking)
    with pytest.raises(KeyboardInterrupt):
        make_mock(data, with_(seed=2), replace=True)
    monkeypatch.undo()
    assert beside(data, "old").exists()
    recover(data)
    assert not beside(data, "old").exists()
    assert (data / "metadata.ecsv").read_text() == "of seed 2"


def test_an_old_archive_is_not_deleted_for_an_unrelated_folder(data: Path) -> None:
    write_sample(beside(data, "old"))
    data.mkdir()
    (data / "notes.txt").touch()
    with pytest.raises(UserError, match="Keep one of the two"):
        recover(data)
    assert (beside(data, "old") / IMAGES).is_file()


def test_two_commands_cannot_write_to_the_same_folder(data: Path) -> None:
    with locked(data), pytest.raises(UserError, match="another command"), locked(data):
        pass
    with locked(data):
        pass
    assert not beside(data, "lock").exists()


def test_only_complete_archives_replace_a_folder(data: Path) -> None:
    work = fresh(data, "mock")
    with pytest.raises(ValueError, match="PROVENANCE"):
        replace_folder(work, data)


def test_lack_of_disk_space_is_reported_beforehand(
    data: Path, written: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    needed = needed_bytes(MOCK)
    make_mock(data, MOCK)
    assert needed > sum(path.stat().st_size for path in published_files(data))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2 * needed, needed, needed - 1))
    with pytest.raises(UserError, match="stay until they are replaced"):
        make_mock(data, with_(seed=2), replace=True)
    assert written == [1]
