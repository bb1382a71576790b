"""Downloads of one file over HTTP."""

from pathlib import Path

import pytest
from archive.server import Archive, rest_regardless, serving, truncate

from mergershift.archive.fetching.download import Downloads, RetryPolicy, download, find
from mergershift.core.errors import UserError

ONCE, TWICE = (
    Downloads(RetryPolicy(attempts=attempts, backoff_s=0.01, timeout_s=5), report=lambda _: None)
    for attempts in (1, 2)
)


def _download(archive: Archive, part: Path, downloads: Downloads) -> None:
    remote = find(archive.address, ["images.npy"], downloads)
    assert remote is not None
    download(remote, part, downloads, lambda _: None)


@pytest.mark.parametrize("server", ["sound", "sends no tags", "sends the rest regardless"])
def test_two_versions_of_a_file_are_never_joined(tmp_path: Path, server: str) -> None:
    """The request for the rest is conditional and the response is checked, since either alone may fail."""
    old, new = bytes(300_000), bytes([1]) * 300_000
    published, part = tmp_path / "published", tmp_path / "images.npy.part"
    published.mkdir()
    (published / "images.npy").write_bytes(old)
    with serving(published) as archive:
        archive.misdeeds["images.npy"] = [truncate(200_000)]
        with pytest.raises(UserError, match="resumes the download"):
            _download(archive, part, ONCE)
        assert 0 < part.stat().st_size < len(old)

        archive.files["images.npy"] = new
        if server == "sends no tags":
            archive.validator = None
        if server == "sends the rest regardless":
            archive.misdeeds["images.npy"] = [rest_regardless]
        _download(archive, part, TWICE)
        assert part.read_bytes() == new
