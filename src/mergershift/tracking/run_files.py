"""The files of a run in the server's artifact store, with a digest of each in a tag of the run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.store.artifact.artifact_repo import ArtifactRepository

from mergershift.tracking.artifact_store import is_local, store_of
from mergershift.tracking.failures import check_store, reaching_store

FILES_TAG, FORMER_FILES_TAG = "mlflow.mergershift.files", "mergershift.files"
"""Tag with a digest of every file of the run, so that no file is downloaded to be compared, and its former name."""


class RunFiles:
    """The files of a run as the server has them."""

    def __init__(self, client: MlflowClient, run: Run) -> None:
        self._client = client
        self._run = run
        tags = run.data.tags
        self._digests = _digests(tags.get(FILES_TAG) or tags.get(FORMER_FILES_TAG) or "{}")

    @property
    def tags(self) -> dict[str, str]:
        """The tag with the digests of all files; none if there is no file."""
        return {FILES_TAG: json.dumps(self._digests, sort_keys=True)} if self._digests else {}

    def store(self, files: Mapping[str, bytes]) -> bool:
        """Store the files, given by their paths in the run, that it lacks or has with other contents.

        Returns whether there were any, after which the run needs its `tags` anew.
        """
        digests = {path: hashlib.sha256(content).hexdigest()[:16] for path, content in files.items()}
        check_store(self._client.tracking_uri, self._run.info.artifact_uri)
        missing = [
            path for path in files if path not in self._stored or self._digests.get(path) != digests[path]
        ]
        if not missing:
            return False
        with TemporaryDirectory(prefix="mergershift-") as temporary:
            for path in missing:
                file = Path(temporary) / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(files[path])
                with reaching_store(f"{path} could not be stored"):
                    parent = str(PurePosixPath(path).parent)
                    self._store.log_artifact(str(file), None if parent == "." else parent)
        self._stored.update(missing)
        self._digests |= {path: digests[path] for path in missing}
        return True

    @cached_property
    def _store(self) -> ArtifactRepository:
        return store_of(self._client, self._run)

    @cached_property
    def _stored(self) -> set[str]:
        """Paths of the run's files. Another machine's store is not asked for files that were stored there before."""
        if self._digests and not is_local(self._client.tracking_uri, self._run.info.artifact_uri):
            return set(self._digests)
        with reaching_store("the files of the run could not be listed"):
            return set(self._listed())

    def _listed(self, folder: str | None = None) -> Iterator[str]:
        for entry in self._store.list_artifacts(folder):
            if entry.is_dir:
                yield from self._listed(entry.path)
            else:
                yield entry.path


def _digests(text: str) -> dict[str, str]:
    try:
        found = json.loads(text)
    except ValueError:  # somebody has edited the tag
        return {}
    return found if isinstance(found, dict) else {}
