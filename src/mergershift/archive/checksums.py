"""Checksums that came with files, in the format of the commands `md5sum`, `sha256sum` and their kin.

No file of checksums of the archive is known; these are for those that its page or a colleague gives along with it.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from mergershift.archive.layouts import FileError

_NAME = re.compile(r"(?i)(^|[._-])(md5|sha1|sha256|sha512)(sums?)?([.]txt)?$")
_LINE = re.compile(r"\\?(?P<hash>[0-9a-fA-F]+) [ *](?P<name>.+)")
_ALGORITHMS = {32: "md5", 40: "sha1", 64: "sha256", 128: "sha512"}
"""Algorithm by the number of hexadecimal digits."""
_LONGEST = 1 << 20


def checksum_files(folder: Path) -> list[Path]:
    """List the files in a folder whose names are those of checksums, for instance SHA256SUMS or x.npy.md5."""
    return sorted(path for path in folder.iterdir() if _NAME.search(path.name) and path.is_file())


def checksummed(folder: Path) -> list[str]:
    """List the names of the files in a folder whose checksums are known, once for each checksum."""
    names: list[str] = []
    for path in checksum_files(folder) if folder.is_dir() else []:
        with suppress(FileError):
            names += [name for name in read_checksums(path) if (folder / name).is_file()]
    return names


def read_checksums(path: Path) -> dict[str, tuple[str, str]]:
    """Read a file of checksums: the algorithm and the hexadecimal hash of each file, by its name without folders.

    A byte-order mark, as editors on Windows write it, is skipped. Raises FileError if the file contains anything else.
    """
    expected = "lines of a hash and a file name, as md5sum or sha256sum writes them"
    if path.stat().st_size > _LONGEST:
        raise FileError(path, f"{path.stat().st_size} bytes", expected)
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise FileError(path, "no text in UTF-8", expected) from None
    found = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.rstrip())
        algorithm = _ALGORITHMS.get(len(match["hash"])) if match else None
        if match is None or algorithm is None:
            raise FileError(path, f"line {number} is '{line[:60]}'", expected)
        found[Path(match["name"]).name] = algorithm, match["hash"].lower()
    return found
