"""Versions of registered models, with tags and aliases; a model registered repeatedly is a single version."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from mlflow import artifacts
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

from mergershift.core.checkout import enclosing
from mergershift.core.database_files import SQLITE, sqlite_path
from mergershift.core.errors import UserError
from mergershift.core.model_uri import ModelUri
from mergershift.core.redaction import public
from mergershift.tracking.accounts import require_write
from mergershift.tracking.answers import is_server
from mergershift.tracking.artifact_store import located
from mergershift.tracking.diagnosis import answering
from mergershift.tracking.failures import check_store, permitted, reaching_store
from mergershift.tracking.find_run import deleted, experiment_named, find
from mergershift.tracking.linked_model import store_model
from mergershift.tracking.model_files import VERSION_RECORD, cache, files_hash, require_files
from mergershift.tracking.model_version import DIGITS, FILES, FINGERPRINT, FORMER_FINGERPRINT, Version
from mergershift.tracking.pages import model_page, run_page
from mergershift.tracking.server import connect

CHAMPION = "champion"
_ABSENT = "RESOURCE_DOES_NOT_EXIST"


class Registry:
    """The model registry of the server or database at an address.

    Every method raises UserError if the server or database does not answer.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        with answering(address):
            self._client = connect(address)

    @property
    def address(self) -> str:
        """Address without credentials; a database in a checkout is given relative to it, wherever that is moved."""
        path = sqlite_path(self._address)
        inside = path is not None and enclosing(path.parent) == path.parent
        return f"{SQLITE}{path.name}" if path is not None and inside else public(self._address)

    def run_of(self, training: str, experiment: str) -> str | None:
        """Return the id of a training's run; None if the server does not know the run or it has been deleted."""
        with answering(self._address):
            found = experiment_named(self._client, experiment)
            run = find(self._client, found.experiment_id, training) if found else None
            return None if run is None or deleted(run) else str(run.info.run_id)

    def versions(self, name: str) -> list[Version]:
        """Return all versions of a registered model, the oldest first; none if there is no such model."""
        with answering(self._address):
            found, token = [], None
            while True:
                page = self._client.search_model_versions(f"name = '{name}'", page_token=token)
                found += [Version.of(version) for version in page]
                token = page.token
                if not token:
                    return sorted(found, key=lambda version: version.number)

    def same(self, name: str, fingerprint: str) -> Version | None:
        """Return the version of `name` whose model has this fingerprint, the first if there are several."""
        known = (version for version in self.versions(name) if version.fingerprint)
        return next((version for version in known if version.fingerprint == fingerprint[:DIGITS]), None)

    def champion(self, name: str) -> Version | None:
        """Return the version of `name` that is the champion; None if there is none."""
        return self._by_alias(name, CHAMPION)

    def _by_alias(self, name: str, alias: str) -> Version | None:
        with answering(self._address):
            try:
                return Version.of(self._client.get_model_version_by_alias(name, alias))
            except MlflowException as error:
                # For a model that lacks the alias, MLflow reports an invalid parameter, not a missing resource.
                if error.error_code not in (_ABSENT, "INVALID_PARAMETER_VALUE"):
                    raise
                return None

    def publish(
        self,
        folder: Path,
        name: str,
        run_id: str,
        fingerprint: str,
        tags: Mapping[str, str],
        description: str,
    ) -> tuple[Version, bool]:
        """Log the model in `folder` to its training's run and register it as a version of `name`.

        If a version with the same fingerprint exists already, or another process creates one at the same time, the
        lower version is kept. Returns the version and whether it is new.
        """
        known = self.same(name, fingerprint)
        if known is not None:
            return known, False
        with answering(self._address):
            run = self._client.get_run(run_id)
            # Two models of one training, with different thresholds for instance, must not overwrite each other.
            source, model_id = store_model(
                self._client, self._address, run, f"registered-{fingerprint[:DIGITS]}", folder
            )
        tags = {**tags, FINGERPRINT: fingerprint[:DIGITS], FILES: files_hash(folder)}
        created = self._create(name, source, run_id, tags, description, model_id)
        first = self.same(name, fingerprint) or created
        if first.number == created.number:
            return created, True
        with answering(self._address), permitted():
            self._client.delete_model_version(name, str(created.number))
        return first, False

    def copy(self, version: Version, name: str) -> Version:
        """Return the same model as a version of `name`: an existing one, or a new copy with its tags.

        The copy refers to the same files. It keeps their hash, as they are now, and `fetch` refuses any others.
        """
        files = files_hash(self.fetch(version))
        known = self.same(name, version.fingerprint)
        # A fingerprint is what the one who registered the candidate says, the hash of its files is not.
        if known is not None and known.tags.get(FILES, files) == files:
            return known
        tags = {**version.tags, FINGERPRINT: version.fingerprint, FILES: files}
        tags.pop(FORMER_FINGERPRINT, None)
        return self._create(name, version.uri, version.run_id, tags, version.description)

    def _create(
        self,
        name: str,
        source: str,
        run_id: str | None,
        tags: Mapping[str, str],
        description: str,
        model_id: str | None = None,
    ) -> Version:
        with answering(self._address):
            self._require_model(name)
            created = self._client.create_model_version(
                name, source, run_id, tags=dict(tags), description=description, model_id=model_id
            )
            if model_id is not None and not is_server(self._address):  # a server does this itself
                listed = json.dumps([{"name": name, "version": int(created.version)}])
                self._client.set_logged_model_tags(model_id, {MLFLOW_MODEL_VERSIONS: listed})
            return Version.of(created)

    def _require_model(self, name: str) -> None:
        """Create the registered model if it does not exist; many users may not, but find it prepared."""
        try:
            self._client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code != _ABSENT:
                raise
            try:
                self._client.create_registered_model(name)
            except MlflowException as failure:
                if failure.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise

    def require_write(self, name: str, role: str) -> None:
        """Raise UserError unless this user may add versions to `name`; see `accounts.require_write`."""
        require_write(self._address, name, role)

    def describe_model(self, name: str, description: str) -> None:
        """Describe a registered model, unless somebody has described it already."""
        with answering(self._address):
            if not self._client.get_registered_model(name).description:
                self._client.update_registered_model(name, description=description)

    def describe(self, version: Version, description: str) -> None:
        """Replace the description of a version."""
        with answering(self._address):
            self._client.update_model_version(version.name, str(version.number), description=description)

    def set_champion(self, version: Version) -> None:
        """Make a version the champion of its model."""
        with answering(self._address):
            self._client.set_registered_model_alias(version.name, CHAMPION, str(version.number))

    def tag(self, version: Version, tags: Mapping[str, str | None]) -> None:
        """Set tags of a version, or remove those that are None; its other tags stay."""
        with answering(self._address):
            for key, value in tags.items():
                if value is not None:
                    self._client.set_model_version_tag(version.name, str(version.number), key, value)
                elif key in version.tags:
                    self._client.delete_model_version_tag(version.name, str(version.number), key)

    def run_page(self, training: str, experiment: str, artifact: str | None = None) -> str | None:
        """Return the address of a run's page, or of one of its files, within MLflow's pages; None without a run."""
        run_id = self.run_of(training, experiment)
        with answering(self._address):
            found = experiment_named(self._client, experiment)
        return (
            None if run_id is None or found is None else run_page("", found.experiment_id, run_id, artifact)
        )

    def page(self, version: Version) -> str | None:
        """Return the address of the page of a version; None if it is in a database, which no server shows by itself."""
        if not is_server(self._address):
            return None
        return model_page(public(self._address), version.name, version.number)

    def resolve(self, uri: str) -> Version:
        """Return the version that models:/NAME@ALIAS or models:/NAME/VERSION names; raises UserError if unknown."""
        wanted = ModelUri.parse(uri)
        versions = self.versions(wanted.name)
        if not versions:
            raise UserError(
                f"{uri}: {public(self._address)} has no model '{wanted.name}'.\n"
                "Register it with `mergershift register`, or set MLFLOW_TRACKING_URI to the server that has it."
            )
        if wanted.alias:
            found = self._by_alias(wanted.name, wanted.alias)
            advice = "Run `mergershift promote` to choose a champion."
        else:
            found = next((version for version in versions if version.number == wanted.version), None)
            advice = f"Its versions: {', '.join(str(version.number) for version in versions)}."
        if found is None:
            missing = f"alias '{wanted.alias}'" if wanted.alias else f"version {wanted.version}"
            raise UserError(f"{uri}: the model '{wanted.name}' has no {missing}.\n{advice}")
        return found

    def fetch(self, version: Version) -> Path:
        """Return the local folder of a version, which is downloaded first if necessary.

        Raises UserError if its files cannot be fetched, or are others than those that were registered.
        """
        # The address is left out: a database is at another path after the checkout has been moved.
        identity = f"{version.uri} {version.created} {version.fingerprint}"
        digest = hashlib.sha256(identity.encode()).hexdigest()[:12]
        folder = cache() / version.name / f"{version.number}-{digest}"
        if not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            partial = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}.part")
            try:
                with answering(self._address):
                    # Given a models:/ URI, MLflow would use the registry that its environment names.
                    source = self._client.get_model_version_download_uri(version.name, str(version.number))
                    check_store(self._address, source, fetching=True)
                    with reaching_store(f"the files of {version.uri} could not be fetched"):
                        downloaded = artifacts.download_artifacts(
                            located(self._address, source), dst_path=str(partial), tracking_uri=self._address
                        )
                require_files(version, Path(downloaded))
                record = f"model_name: {json.dumps(version.name)}\nmodel_version: '{version.number}'\n"
                (Path(downloaded) / VERSION_RECORD).write_text(record)
                try:
                    os.replace(downloaded, folder)
                except OSError:
                    if not folder.is_dir():  # otherwise another process was faster
                        raise
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        return folder


def fetch_model(address: str, uri: str) -> Path:
    """Return the local folder of a registered model; every version is downloaded only once.

    Args:
        address: address of the server or database (`tracking_address`).
        uri: models:/NAME@ALIAS or models:/NAME/VERSION.

    Raises UserError if the name, alias or version is unknown, or if the server or database does not answer.
    """
    registry = Registry(address)
    return registry.fetch(registry.resolve(uri))
