"""Hashes that are known of files: of a manifest of files that came by another way, and of checksums beside them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from mergershift.archive import DATA_SETS, Domain
from mergershift.archive.manifest import take
from mergershift.archive.provenance import (
    PROVENANCE_NAME,
    ArchiveProvenance,
    MockProvenance,
    read_provenance,
    write_provenance,
)
from mergershift.archive.recording import record, require_recordable
from mergershift.archive.verification.verify import bytes_to_read, verify
from mergershift.core.errors import UserError

NOISY = DATA_SETS["two", Domain.NOISY]
ADDRESS = "https://example.org/deepmerge"


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def errors(folder: Path) -> list[str]:
    return [str(finding) for finding in verify(folder).findings if finding.level == "error"]


def test_a_bit_that_no_other_check_notices_differs_from_the_recorded_manifest(data: Path) -> None:
    path = data / NOISY.images_name
    # The last row is a non-merger with noise: nothing else in the folder repeats its pixels.
    bit = 8 * (path.stat().st_size - 4000)
    flip(path, bit)
    assert not errors(data)
    flip(path, bit)
    assert record(data, require_recordable(data, None)) == 4
    assert not errors(data)
    flip(path, bit)
    (error,) = errors(data)
    assert "content differs from the manifest" in error
    assert "Get the file again from its source" in error


def test_unknown_files_stay_of_unknown_provenance_unless_an_address_is_stated(data: Path) -> None:
    record(data, require_recordable(data, None))
    found = read_provenance(data)
    assert found is not None
    assert found.origin.model_dump(exclude_none=True) == {"kind": "unknown"}
    assert any("unknown provenance" in note for note in verify(data).notes)
    record(data, require_recordable(data, ADDRESS + "/"))
    stated = read_provenance(data)
    assert isinstance(stated, ArchiveProvenance)
    assert (stated.address, stated.stated_by) == (ADDRESS, "user")
    assert "as a user stated" in str(stated)
    # A file that is added later is recorded with what was stated before.
    assert require_recordable(data, None) == stated


@pytest.mark.parametrize(
    "known",
    [
        ArchiveProvenance(address=ADDRESS),
        MockProvenance(seed=0, mergers=2, non_mergers=33, mock_version=1, filter_sets=("two",), fits=False),
    ],
)
def test_a_manifest_of_fetched_or_made_files_is_never_rewritten(
    data: Path, known: ArchiveProvenance | MockProvenance
) -> None:
    write_provenance(data, known.with_files(take(data.iterdir())))
    before = (data / PROVENANCE_NAME).read_bytes()
    with pytest.raises(UserError, match="with its manifest; expected files that came by another way"):
        require_recordable(data, None)
    assert (data / PROVENANCE_NAME).read_bytes() == before


@pytest.mark.parametrize(
    ("algorithm", "name", "line"),
    [
        ("md5", "md5sums.txt", "{hash}  ./{file}"),
        ("sha256", "SHA256SUMS", "{hash} *{file}"),
        ("sha256", "SHA256SUMS.txt", "\ufeff{hash}  {file}"),
        ("md5", NOISY.images_name + ".md5", "{hash}  {file}"),
        ("sha256", "hlsp_deepmerge_sha256sum.txt", "# by the archive\n{hash}  {file}"),
    ],
)
def test_checksums_beside_the_files_are_compared(data: Path, algorithm: str, name: str, line: str) -> None:
    path = data / NOISY.images_name
    digest = hashlib.new(algorithm, path.read_bytes()).hexdigest()
    (data / name).write_text(line.format(hash=digest.upper(), file=path.name) + "\n")
    read: list[int] = []
    report = verify(data, read.append)
    assert report.sound, report.findings
    assert f"{name}: 1 file compared with their checksums" in report.notes
    assert 0 < sum(read) <= bytes_to_read(data)
    flip(path, 8 * (path.stat().st_size - 4000))
    (error,) = errors(data)
    assert f"as {name} says" in error


@pytest.mark.parametrize("content", [b"no checksums", b"\xff\xfe", b"abc  file\n", b"\0" * 2_000_000])
def test_files_that_only_have_the_name_of_checksums_are_a_warning(data: Path, content: bytes) -> None:
    (data / "MD5SUMS").write_bytes(content)
    report = verify(data)
    assert report.sound
    assert [
        finding.file for finding in report.findings if "as md5sum or sha256sum writes" in finding.expected
    ] == ["MD5SUMS"]
