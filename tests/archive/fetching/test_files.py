"""Names and formats of the files on the server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from archive.fetching.fetches import IMAGES, PRISTINE, assert_fetched, get, manifest_of
from archive.server import Archive, status, truncate

from mergershift.archive import DATA_SETS, Domain, available
from mergershift.archive.fetching.files import WHICH_FORMATS
from mergershift.cli.data import WHICH_FORMATS as CLI_FORMATS
from mergershift.core.errors import UserError

THREE = DATA_SETS["three", Domain.PRISTINE]
REAL, BY_RULE = THREE.stems


def rename(archive: Archive, *endings: str) -> None:
    """Let the server have files of the three-filter set under the names by the rule of the archive's page."""
    for ending in endings:
        archive.files[BY_RULE + ending] = archive.files.pop(REAL + ending)


def only_fits(archive: Archive) -> None:
    """Let the server have no npy files, as the real one."""
    for name in [name for name in archive.files if name.endswith(".npy")]:
        del archive.files[name]


def test_the_command_line_offers_every_choice_of_formats() -> None:
    assert set(CLI_FORMATS) == set(WHICH_FORMATS)


@pytest.mark.parametrize("which", ["any", "npy", "fits", "both"])
@pytest.mark.parametrize("by_rule", [(), ("-x.npy", "-y.npy", ".fits"), ("-y.npy",)])
def test_both_spellings_are_fetched_and_kept(
    archive: Archive, data: Path, which: str, by_rule: tuple[str, ...]
) -> None:
    rename(archive, *by_rule)
    expected = {
        (BY_RULE if ending in by_rule else REAL) + ending
        for ending in (["-x.npy", "-y.npy"] if which != "fits" else [])
        + ([".fits"] if which in ("fits", "both") else [])
    }
    done, log = get(archive, data, [THREE], which)
    assert set(done.downloaded) == expected
    assert "404" not in log
    assert_fetched(archive, data, *expected)
    assert set(manifest_of(data)) == expected
    assert available(data) == [THREE]
    archive.asked.clear()
    done, _ = get(archive, data, [THREE], which)
    assert (done.downloaded, set(done.kept)) == ([], expected)
    assert archive.asked == []


def test_any_format_is_fits_where_there_is_no_npy(archive: Archive, data: Path) -> None:
    del archive.files[f"{REAL}-x.npy"]
    done, log = get(archive, data, [PRISTINE, THREE], "any")
    assert set(done.downloaded) == {IMAGES, PRISTINE.labels_name, THREE.fits_name}
    assert f"three filters, pristine: in format fits, {THREE.fits_name}" in log
    assert f"two filters, pristine: in format npy, {IMAGES} and {PRISTINE.labels_name}" in log
    # What the server gets later does not change what is here.
    archive.asked.clear()
    archive.files[f"{REAL}-x.npy"] = b""
    assert get(archive, data, [PRISTINE, THREE], "any")[0].downloaded == []
    assert archive.asked == []


@pytest.mark.parametrize("heads", [True, False])
def test_a_web_page_in_place_of_a_file_is_no_file(archive: Archive, data: Path, heads: bool) -> None:
    only_fits(archive)
    rename(archive, ".fits")
    archive.pages, archive.heads = True, heads
    get(archive, data, [THREE], "any")
    assert_fetched(archive, data, f"{BY_RULE}.fits")


def test_a_file_that_a_server_without_listing_forbids_is_tried_under_other_names_and_formats(
    archive: Archive, data: Path
) -> None:
    archive.absent = 403
    only_fits(archive)
    with pytest.raises(UserError, match=r"(?s)no .*-x\.npy or .*: HTTP 404 or 403, .*give --format fits"):
        get(archive, data, [THREE], "npy")
    rename(archive, ".fits")
    done, _ = get(archive, data, [THREE], "any")
    assert done.downloaded == [f"{BY_RULE}.fits"]
    archive.files.clear()
    with pytest.raises(UserError, match="HTTP 403, access is forbidden"):
        get(archive, data, [DATA_SETS["two", Domain.NOISY]], "any")
    (data / f"{BY_RULE}.fits").unlink()
    with pytest.raises(UserError, match="HTTP 403, access is forbidden"):
        get(archive, data, [THREE], "any")


def test_files_that_changed_here_are_fetched_again_in_the_format_of_the_first_fetch(
    archive: Archive, data: Path
) -> None:
    get(archive, data, [THREE], "fits")
    (data / THREE.fits_name).write_bytes(b"changed")
    done, _ = get(archive, data, [THREE], "any")
    assert done.restored == {THREE.fits_name: "differs"}
    assert_fetched(archive, data, THREE.fits_name)
    (data / THREE.fits_name).unlink()
    assert get(archive, data, [THREE], "any")[0].downloaded == [THREE.fits_name]
    # A changed file is restored although something else is requested.
    (data / THREE.fits_name).write_bytes(b"changed")
    done, _ = get(archive, data, [PRISTINE], "npy")
    assert set(done.downloaded) == {IMAGES, PRISTINE.labels_name, THREE.fits_name}


def test_a_file_that_the_server_renamed_is_recognised_by_its_content(archive: Archive, data: Path) -> None:
    rename(archive, ".fits")
    get(archive, data, [THREE], "fits")
    archive.files[f"{REAL}.fits"] = archive.files.pop(f"{BY_RULE}.fits")
    (data / f"{BY_RULE}.fits").unlink()
    assert get(archive, data, [THREE], "any")[0].downloaded == [f"{REAL}.fits"]
    assert set(manifest_of(data)) == {f"{REAL}.fits"}
    (data / f"{REAL}.fits").unlink()
    rename(archive, ".fits")
    content = archive.files[f"{BY_RULE}.fits"]
    archive.files[f"{BY_RULE}.fits"] = content.replace(b"Illustris Simulation", b"illustris simulation")
    with pytest.raises(UserError, match="differs from the manifest"):
        get(archive, data, [THREE], "any")
    get(archive, data, [THREE], "any", replace=True)
    assert_fetched(archive, data, f"{BY_RULE}.fits")


def test_an_interrupted_fetch_of_fits_is_resumed(archive: Archive, data: Path) -> None:
    only_fits(archive)
    noisy = DATA_SETS["three", Domain.NOISY]
    archive.misdeeds[noisy.fits_name] = [truncate(400_000), *[status(503)] * 50]
    with pytest.raises(UserError, match="resumes the download"):
        get(archive, data, [THREE, noisy], "any", jobs=1)
    archive.misdeeds.clear()
    archive.asked.clear()
    done, _ = get(archive, data, [THREE, noisy], "any")
    assert archive.gets(THREE.fits_name) == []
    (again,) = archive.gets(noisy.fits_name)
    assert again is not None
    assert set(done.downloaded) == {THREE.fits_name, noisy.fits_name}


def test_a_format_that_the_server_lacks_is_named_with_what_it_has(archive: Archive, data: Path) -> None:
    only_fits(archive)
    with pytest.raises(UserError) as error:
        get(archive, data, [THREE], "npy")
    first, second = str(error.value).splitlines()
    assert f"the server has no {REAL}-x.npy or {REAL}-y.npy (nor under another spelling): HTTP 404" in first
    assert second == f"It has {REAL}.fits: give --format fits, or leave --format out."
    del archive.files[f"{REAL}.fits"]
    with pytest.raises(UserError, match=rf"(?s)no {REAL}-x.npy or .* or {REAL}\.fits .*Check the address"):
        get(archive, data, [THREE], "any")
    assert not data.exists()


def test_the_space_needed_is_that_of_the_format_found(
    archive: Archive, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed: list[int] = []
    monkeypatch.setattr(
        "mergershift.archive.fetching.fetch.require_space", lambda _, size: needed.append(size)
    )
    get(archive, data, [THREE], "any")
    only_fits(archive)
    get(archive, data, [DATA_SETS["three", Domain.NOISY]], "any")
    assert needed == [
        sum((data / name).stat().st_size for name in (THREE.images_name, THREE.labels_name)),
        (data / DATA_SETS["three", Domain.NOISY].fits_name).stat().st_size,
    ]


def test_the_licence_is_recorded(archive: Archive, data: Path) -> None:
    get(archive, data)
    found = json.loads((data / "PROVENANCE.json").read_text())
    assert found["licence"] == "CC BY 4.0 https://creativecommons.org/licenses/by/4.0/"
    assert (found["doi"], found["reference"]) == ("10.17909/t9-vqk6-pc80", "2021MNRAS.506..677C")
    # Folders fetched before the licence was recorded are read as well.
    for name in ("licence", "doi", "reference"):
        del found[name]
    (data / "PROVENANCE.json").write_text(json.dumps(found))
    assert get(archive, data)[0].downloaded == []
