from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from archive.fetching.fetches import FAST, IMAGES, PRISTINE, SMALL, TWO, assert_fetched, get, manifest_of
from archive.samples import write_sample
from archive.server import Archive, Handler, instead, serving, stall, status, truncate, wrong_part

from mergershift.archive import DATA_SETS, Domain, available
from mergershift.archive.manifest import take
from mergershift.archive.provenance import ArchiveProvenance, read_provenance
from mergershift.archive.recording import record, require_recordable
from mergershift.archive.verification.verify import verify
from mergershift.core.errors import UserError


def test_all_data_sets_in_both_formats(archive: Archive, data: Path) -> None:
    done, log = get(archive, data, list(DATA_SETS.values()), "both", address=archive.address + "/")
    assert sorted(done.downloaded) == sorted(archive.files)
    assert_fetched(archive, data, *archive.files)
    found = read_provenance(data)
    assert isinstance(found, ArchiveProvenance)
    assert found.address == archive.address
    assert abs((found.date - datetime.now(UTC)).total_seconds()) < 60
    assert found.files == take(data / name for name in archive.files)
    # Without a terminal there is one line per file and no bars.
    assert len(log.splitlines()) == len(archive.files)


def test_nothing_is_fetched_twice(archive: Archive, data: Path) -> None:
    get(archive, data)
    before = read_provenance(data)
    archive.asked.clear()
    done, _ = get(archive, data)
    assert (done.downloaded, len(done.kept)) == ([], 2)
    assert archive.asked == []
    assert read_provenance(data) == before


def test_a_second_filter_set_is_added(archive: Archive, data: Path) -> None:
    get(archive, data, TWO)
    (data / "metadata.ecsv").write_text("mine")
    (data / "notes.txt").write_text("mine too")
    (data / PRISTINE.fits_name).write_bytes(b"brought by hand")
    inode = (data / IMAGES).stat().st_ino
    archive.asked.clear()
    done, _ = get(archive, data, list(DATA_SETS.values()))
    assert len(done.downloaded) == len(done.kept) == 4
    assert archive.gets(IMAGES) == []
    assert (data / IMAGES).stat().st_ino == inode
    assert len(available(data)) == 4
    assert len(manifest_of(data)) == 8
    assert (data / "metadata.ecsv").read_text() == "mine"
    assert (data / "notes.txt").read_text() == "mine too"
    assert (data / PRISTINE.fits_name).read_bytes() == b"brought by hand"


def test_files_that_a_user_brought_are_not_said_to_be_fetched(archive: Archive, data: Path) -> None:
    write_sample(data, SMALL, ("three",))
    record(data, require_recordable(data, archive.address))
    get(archive, data)
    found = read_provenance(data)
    assert isinstance(found, ArchiveProvenance)
    assert (found.stated_by, len(found.files)) == ("user", 6)
    for path in data.glob("*.npy"):
        path.unlink()
    get(archive, data)
    found = read_provenance(data)
    assert isinstance(found, ArchiveProvenance)
    assert (found.stated_by, len(found.files)) == ("fetch", 2)


def test_only_missing_and_changed_files_are_fetched_again(archive: Archive, data: Path) -> None:
    get(archive, data, TWO)
    content = bytearray(archive.files[IMAGES])
    content[5000] ^= 1
    (data / IMAGES).write_bytes(content)
    missing = TWO[1].labels_names[0]
    (data / missing).unlink()
    done, log = get(archive, data, TWO)
    assert done.restored == {IMAGES: "differs", missing: "missing"}
    assert sorted(done.downloaded) == sorted([IMAGES, missing])
    assert f"{IMAGES}: differs from the manifest; fetching it again" in log
    assert_fetched(archive, data, *manifest_of(data))


def test_deleted_files_that_are_not_requested_are_not_fetched(archive: Archive, data: Path) -> None:
    get(archive, data, TWO)
    (data / TWO[1].images_name).unlink()
    _, log = get(archive, data, [PRISTINE])
    assert f"{TWO[1].images_name}: missing; removed from the manifest" in log
    assert TWO[1].images_name not in manifest_of(data)


def test_a_file_that_changed_on_the_server_is_refused_without_replace(archive: Archive, data: Path) -> None:
    get(archive, data)
    (data / IMAGES).unlink()
    old = archive.files[IMAGES]
    archive.files[IMAGES] = old[:-8] + bytes([1] * 8)
    with pytest.raises(UserError, match="differs from the manifest"):
        get(archive, data)
    archive.asked.clear()
    get(archive, data, replace=True)
    assert archive.gets(IMAGES) == []
    assert_fetched(archive, data, IMAGES)


def test_labels_under_their_other_name(archive: Archive, data: Path) -> None:
    first, second = PRISTINE.labels_names
    archive.files[second] = archive.files.pop(first)
    done, _ = get(archive, data)
    assert second in done.downloaded
    assert available(data) == [PRISTINE]
    assert get(archive, data)[0].downloaded == []


def test_truncated_downloads_are_resumed(archive: Archive, data: Path) -> None:
    archive.misdeeds[IMAGES] = [truncate(300_000)]
    _, log = get(archive, data)
    asked = archive.gets(IMAGES)
    assert asked[0] is None
    assert asked[1] is not None
    assert int(asked[1].removeprefix("bytes=").removesuffix("-")) > 0
    assert "trying again" in log
    assert_fetched(archive, data, IMAGES)


def test_without_ranges_the_whole_file_is_fetched_again(archive: Archive, data: Path) -> None:
    archive.ranges = False
    archive.misdeeds[IMAGES] = [truncate(300_000)]
    get(archive, data)
    assert_fetched(archive, data, IMAGES)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_server_that_always_truncates_is_given_up(archive: Archive, data: Path, ranges: bool) -> None:
    archive.ranges = ranges
    archive.misdeeds[IMAGES] = [truncate(300_000)] * 50
    with pytest.raises(UserError, match="times in a row"):
        get(archive, data)
    assert len(archive.gets(IMAGES)) <= FAST.attempts + 1
    assert not data.exists()


def test_stalled_downloads_time_out_and_are_resumed(archive: Archive, data: Path) -> None:
    archive.misdeeds[IMAGES] = [stall(300_000), stall(0)]
    started = time.monotonic()
    get(archive, data)
    assert 2 * FAST.timeout_s <= time.monotonic() - started < 10
    assert_fetched(archive, data, IMAGES)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: b"<html>maintenance</html>" + content[24:],
        lambda content: content[:-8] + np.float64("nan").tobytes(),
        lambda content: content[:-80],
    ],
    ids=["header", "NaN", "short"],
)
def test_corrupt_content_is_fetched_again(
    archive: Archive, data: Path, spoil: Callable[[bytes], bytes]
) -> None:
    archive.misdeeds[IMAGES] = [instead(spoil(archive.files[IMAGES]))]
    _, log = get(archive, data)
    assert "fetching it again" in log
    assert_fetched(archive, data, IMAGES)


def test_content_that_stays_corrupt_is_refused(archive: Archive, data: Path) -> None:
    good = archive.files[IMAGES]
    archive.files[IMAGES] = archive.files[TWO[1].labels_names[0]]
    with pytest.raises(UserError, match="3 times with broken content: images of shape"):
        get(archive, data)
    assert not data.exists()
    archive.files[IMAGES] = good
    labels = SMALL.labels * 2
    np.save(stream := io.BytesIO(), labels)
    archive.files[PRISTINE.labels_names[0]] = stream.getvalue()
    with pytest.raises(UserError, match="0 or 1"):
        get(archive, data.parent / "other")


def test_one_wrong_bit_in_a_merger_is_found_by_verify(archive: Archive, data: Path) -> None:
    content = bytearray(archive.files[IMAGES])
    content[128 + 75 * 75 * 4] ^= 1
    archive.misdeeds[IMAGES] = [instead(bytes(content))]
    get(archive, data)
    finding = next(finding for finding in verify(data).findings if "turned copies" in finding.found)
    assert finding.level == "error"
    assert finding.remedy == f"Delete {IMAGES} and fetch it again with `mergershift data fetch --replace`."
    (data / IMAGES).unlink()
    get(archive, data, replace=True)
    assert_fetched(archive, data, IMAGES)


def test_404_is_final_and_nothing_is_downloaded(archive: Archive, data: Path) -> None:
    del archive.files[PRISTINE.labels_names[0]]
    with pytest.raises(
        UserError,
        match=r"(?s)the server has no hlsp.*-y\.npy .*It has .*\.fits: give --format fits",
    ):
        get(archive, data)
    assert archive.gets(IMAGES) == []
    archive.files[PRISTINE.labels_names[0]] = b""
    archive.misdeeds[IMAGES] = [status(404)]
    with pytest.raises(UserError, match="HTTP 404"):
        get(archive, data)
    assert len(archive.gets(IMAGES)) == 1


@pytest.mark.parametrize("code", [503, 429])
def test_a_busy_server_is_tried_again_after_the_time_it_asks_for(
    archive: Archive, data: Path, code: int
) -> None:
    archive.misdeeds[IMAGES] = [status(code, Retry_After="1"), status(code)]
    started = time.monotonic()
    _, log = get(archive, data)
    assert time.monotonic() - started > 1
    assert f"HTTP {code}; trying again in 1 s" in log
    assert_fetched(archive, data, IMAGES)


def test_a_server_that_stays_busy_is_given_up(archive: Archive, data: Path) -> None:
    archive.misdeeds[IMAGES] = [status(503)] * 50
    with pytest.raises(UserError, match="HTTP 503, 4 times in a row"):
        get(archive, data)
    assert len(archive.gets(IMAGES)) == FAST.attempts


def test_no_server_and_no_address(archive: Archive, data: Path) -> None:
    with pytest.raises(UserError, match="connection failed"):
        get(archive, data, address="http://127.0.0.1:9")
    with pytest.raises(UserError, match="Check the address"):
        get(archive, data, address="deepmerge")


def test_a_server_without_head(archive: Archive, data: Path) -> None:
    archive.heads = False
    get(archive, data)
    assert_fetched(archive, data, IMAGES)


@pytest.mark.parametrize("validator", ["etag", "date", None])
def test_a_file_that_changes_during_the_download_is_fetched_whole(
    archive: Archive, data: Path, validator: str | None
) -> None:
    archive.validator = validator
    changed = archive.files[IMAGES][:-1_000_000] + bytes(1_000_000)

    def break_off_and_change(handler: Handler, content: bytes) -> None:
        truncate(300_000)(handler, content)
        if validator != "date":
            archive.files[IMAGES] = changed

    archive.misdeeds[IMAGES] = [break_off_and_change]
    get(archive, data)
    assert_fetched(archive, data, IMAGES)
    assert (archive.gets(IMAGES)[1] is None) == (validator is None)


def test_a_wrong_part_is_not_appended(archive: Archive, data: Path) -> None:
    archive.misdeeds[IMAGES] = [truncate(300_000), wrong_part]
    get(archive, data)
    assert archive.gets(IMAGES)[2] is None
    assert_fetched(archive, data, IMAGES)


def test_a_failed_fetch_is_resumed(archive: Archive, data: Path) -> None:
    archive.misdeeds[IMAGES] = [truncate(400_000), *[status(503)] * 50]
    with pytest.raises(UserError, match="resumes the download"):
        get(archive, data, jobs=1)
    part = data.parent / ".data.fetch" / f"{IMAGES}.part"
    size = part.stat().st_size
    assert size > 0
    archive.misdeeds.clear()
    archive.asked.clear()
    get(archive, data)
    assert archive.gets(IMAGES) == [f"bytes={size}-"]
    assert_fetched(archive, data, IMAGES)


def test_files_gathered_by_another_command_are_kept(archive: Archive, data: Path) -> None:
    three = DATA_SETS["three", Domain.PRISTINE]
    archive.misdeeds[three.images_name] = [truncate(400_000), *[status(503)] * 50]
    with pytest.raises(UserError, match="resumes the download"):
        get(archive, data, [PRISTINE, three])
    archive.misdeeds.clear()
    get(archive, data, [PRISTINE])
    assert available(data) == [PRISTINE]
    get(archive, data, [three])
    assert archive.gets(three.images_name)[-1] is not None
    assert_fetched(archive, data, IMAGES, three.images_name)


def test_another_address_starts_from_scratch(archive: Archive, published: Path, data: Path) -> None:
    archive.misdeeds[IMAGES] = [truncate(400_000), *[status(503)] * 50]
    with pytest.raises(UserError, match="resumes the download"):
        get(archive, data)
    with serving(published) as other:
        get(other, data)
        assert other.gets(IMAGES) == [None]


KILLED = """
import sys
from pathlib import Path
from mergershift.archive import DATA_SETS, Domain
from mergershift.archive.fetching.fetch import fetch
from mergershift.archive.fetching.files import WHICH_FORMATS, wanted
fetch(Path(sys.argv[1]), wanted([DATA_SETS["two", Domain.PRISTINE]], "npy"), sys.argv[2])
"""


@pytest.mark.slow
def test_killed_and_resumed(archive: Archive, data: Path) -> None:
    archive.misdeeds[IMAGES] = [stall(500_000)]
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(data), archive.address])
    part = data.parent / ".data.fetch" / f"{IMAGES}.part"
    labels = data.parent / ".data.fetch" / "gathered.json"
    deadline = time.monotonic() + 30
    while not (part.is_file() and part.stat().st_size and labels.is_file()) and time.monotonic() < deadline:
        time.sleep(0.02)
    # Bytes that were sent may still be on their way into the file.
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not data.exists()
    size = part.stat().st_size
    archive.asked.clear()
    done, _ = get(archive, data)
    assert archive.gets(IMAGES) == [f"bytes={size}-"]
    assert archive.gets(PRISTINE.labels_names[0]) == []
    assert len(done.downloaded) == 2
    assert_fetched(archive, data, IMAGES, PRISTINE.labels_names[0])


def test_lack_of_disk_space_is_reported_beforehand(
    archive: Archive, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**6, 10**6 - 1000, 1000))
    with pytest.raises(UserError, match=r"GB needed, 0\.00 GB free"):
        get(archive, data)
    assert archive.gets(IMAGES) == []


def test_a_disk_that_fills_during_the_download(
    archive: Archive, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mergershift.archive.fetching.download._receive", full)
    with pytest.raises(UserError, match="the disk is full"):
        get(archive, data)


def test_an_archive_of_other_provenance_is_refused_and_replaced(
    archive: Archive, data: Path, tmp_path: Path
) -> None:
    write_sample(data, SMALL, ("three",))
    (data / "notes.txt").write_text("mine")
    before = take(data.iterdir())
    with pytest.raises(UserError, match="unknown provenance"):
        get(archive, data)
    assert take(data.iterdir()) == before
    assert archive.asked == []
    get(archive, data, replace=True)
    assert available(data) == [PRISTINE]
    assert (data / "notes.txt").read_text() == "mine"
    with serving(data) as other, pytest.raises(UserError, match="found: archive fetched from"):
        get(other, data)
