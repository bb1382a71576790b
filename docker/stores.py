"""Prepare, save and load the stores of a team's server, from inside its image.

`python stores.py prepare` creates the bucket and Optuna's tables; `save` writes every artifact to standard output as a
tar archive, `load` reads such an archive from standard input; `empty` succeeds if there is no artifact. The archive is
the same for a folder and for a bucket, so what was saved from one can be loaded into the other.
"""

from __future__ import annotations

import os
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

CHUNK = 1 << 20


class Artifacts(Protocol):
    """A store of artifacts, by their paths relative to its root."""

    def prepare(self) -> None:
        """Make the store usable."""

    def paths(self) -> Iterator[str]:
        """Paths of all files, in a fixed order."""

    def save(self, path: str, archive: tarfile.TarFile) -> None:
        """Add a file to an archive."""

    def load(self, path: str, content: IO[bytes]) -> None:
        """Write a file; it appears whole or not at all."""


class Folder:
    """Artifacts in a folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def prepare(self) -> None:
        """Check that the folder can be written to."""
        if not os.access(self._root, os.W_OK):
            sys.exit(
                f"{self._root}: user {os.getuid()} cannot write to it; its volume belongs to another user."
            )

    def paths(self) -> Iterator[str]:
        """Paths of all files, in a fixed order."""
        for folder, folders, files in os.walk(self._root, onerror=self._refuse):
            folders.sort()
            for name in sorted(files):
                yield (Path(folder) / name).relative_to(self._root).as_posix()

    def _refuse(self, error: OSError) -> None:
        """Raise the error of a folder that cannot be listed, unless it has been deleted in the meantime."""
        if not isinstance(error, FileNotFoundError) or Path(error.filename) == self._root:
            raise error

    def save(self, path: str, archive: tarfile.TarFile) -> None:
        """Add a file to an archive, unless it has been deleted in the meantime."""
        try:
            file = (self._root / path).open("rb")
        except FileNotFoundError:
            return
        with file:
            archive.addfile(_member(path, os.fstat(file.fileno()).st_size), file)

    def load(self, path: str, content: IO[bytes]) -> None:
        """Write a file; it appears whole or not at all."""
        place = self._root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        unfinished = place.with_name(f".{place.name}.part")
        with unfinished.open("wb") as file:
            while chunk := content.read(CHUNK):
                file.write(chunk)
        unfinished.replace(place)


class Bucket:
    """Artifacts in a bucket, below a prefix."""

    def __init__(self, address: str) -> None:
        import boto3

        self._name, _, prefix = address.removeprefix("s3://").partition("/")
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._client: Any = boto3.client("s3", endpoint_url=os.environ["MLFLOW_S3_ENDPOINT_URL"])

    def prepare(self) -> None:
        """Create the bucket if it does not exist."""
        if self._name not in [bucket["Name"] for bucket in self._client.list_buckets()["Buckets"]]:
            self._client.create_bucket(Bucket=self._name)

    def paths(self) -> Iterator[str]:
        """Paths of all files, in the store's own order."""
        pages = self._client.get_paginator("list_objects_v2")
        try:
            for page in pages.paginate(Bucket=self._name, Prefix=self._prefix):
                for entry in page.get("Contents", []):
                    if not entry["Key"].endswith("/"):
                        yield entry["Key"].removeprefix(self._prefix)
        except self._client.exceptions.NoSuchBucket:
            return

    def save(self, path: str, archive: tarfile.TarFile) -> None:
        """Add a file to an archive, unless it has been deleted in the meantime."""
        try:
            found = self._client.get_object(Bucket=self._name, Key=self._prefix + path)
        except self._client.exceptions.NoSuchKey:
            return
        archive.addfile(_member(path, found["ContentLength"]), found["Body"])

    def load(self, path: str, content: IO[bytes]) -> None:
        """Write a file; it appears whole or not at all."""
        self._client.upload_fileobj(_Forward(content), self._name, self._prefix + path)


class _Forward:
    """A file in an archive that is read as a stream: it has no other way than forward, and says so."""

    def __init__(self, content: IO[bytes]) -> None:
        self._content = content

    def read(self, size: int = -1) -> bytes:
        """Read bytes, all that are left by default."""
        return self._content.read(size)


def _member(path: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(path)
    member.size = size
    member.mode = 0o640
    return member


def artifacts() -> Artifacts:
    """Return the store that MLflow's server is configured with."""
    place = os.environ["MLFLOW_ARTIFACTS_DESTINATION"]
    return Bucket(place) if place.startswith("s3://") else Folder(Path(place))


def save(store: Artifacts, stream: IO[bytes]) -> int:
    """Write every artifact to a stream as a tar archive, and return how many there are."""
    count = 0
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for path in store.paths():
            store.save(path, archive)
            count += 1
    return count


def load(store: Artifacts, stream: IO[bytes]) -> int:
    """Write every file of a tar archive to the store, and return how many there are.

    Files that the store has and the archive has not are kept.
    """
    count = 0
    store.prepare()
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            parts = PurePosixPath(member.name).parts
            content = archive.extractfile(member)
            if content is None or member.name.startswith("/") or ".." in parts:
                sys.exit(f"{member.name!r}: not a file below the store's root. The archive is not of `save`.")
            store.load(member.name, content)
            count += 1
    return count


def prepare() -> None:
    """Create the bucket and, before several workers could do so at once, Optuna's tables."""
    from optuna.storages import RDBStorage

    artifacts().prepare()
    try:
        RDBStorage(os.environ["OPTUNA_STORAGE"])
    except RuntimeError as error:
        sys.exit(f"Optuna's database is of another version: {error}\nRun `make server-upgrade`.")


def main(action: str) -> None:
    """Run one of the actions."""
    if action == "prepare":
        prepare()
    elif action == "save":
        print(f"{save(artifacts(), sys.stdout.buffer)} artifacts", file=sys.stderr)
    elif action == "load":
        print(f"{load(artifacts(), sys.stdin.buffer)} artifacts", file=sys.stderr)
    elif action == "empty":
        sys.exit(any(True for _ in artifacts().paths()))
    else:
        sys.exit(f"{action}: not one of prepare, save, load and empty")


if __name__ == "__main__":
    main(sys.argv[1])
