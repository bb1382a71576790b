"""Versions of registered models, with tags and aliases; a model registered repeatedly is a single version."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow import artifacts
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from mergershift.core.checkout import main_checkout
from mergershift.core.errors import UserError
from mergershift.core.redaction import public
from mergershift.tracking.artifact_store import located, store_of
from mergershift.tracking.diagnosis import answering
from mergershift.tracking.failures import check_store, reaching_store
from mergershift.tracking.find_run import deleted, experiment_named, find
from mergershift.tracking.server import connect

CHAMPION = "champion"
VERSION_RECORD = "registered_model_meta"
"""File in a fetched model's folder with its name and version, as MLflow's own loader writes it."""
FINGERPRINT = "mergershift.fingerprint"
"""Tag with the hash by which two models are recognised as the same (`registry.ModelFacts.fingerprint`)."""
_URI = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>\d+)|@(?P<alias>[^/@]+))")
_ABSENT = "RESOURCE_DOES_NOT_EXIST"


@dataclass(frozen=True)
class Version:
    """One version of a registered model."""

    name: str
    number: int
    tags: Mapping[str, str]
    run_id: str | None
    created: int
    """Milliseconds since 1970; a deleted version's number may be assigned again, with another time."""

    @property
    def uri(self) -> str:
        """URI of the version, for instance models:/mergershift/3."""
        return f"models:/{self.name}/{self.number}"

    @classmethod
    def of(cls, found: ModelVersion) -> Version:
        """Convert what MLflow's client returns."""
        return cls(
            found.name, int(found.version), dict(found.tags), found.run_id or None, found.creation_timestamp
        )


class Registry:
    """The model registry of the server or database at an address.

    Every method raises UserError if the server or database does not answer.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        with answering(address):
            self._client = connect(address)

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
        versions = self.versions(name)
        return next((version for version in versions if version.tags.get(FINGERPRINT) == fingerprint), None)

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
        self, folder: Path, name: str, run_id: str, tags: Mapping[str, str], description: str
    ) -> tuple[Version, bool]:
        """Log the model in `folder` to its training's run and register it as a version of `name`.

        If a version with the same fingerprint exists already, or another process creates one at the same time, the
        lower version is kept. Returns the version and whether it is new.
        """
        fingerprint = tags[FINGERPRINT]
        known = self.same(name, fingerprint)
        if known is not None:
            return known, False
        # Two models of one training, with different thresholds for instance, must not overwrite each other.
        path_in_run = f"models/{fingerprint[:16]}"
        with answering(self._address):
            run = self._client.get_run(run_id)
            check_store(self._address, run.info.artifact_uri)
            with reaching_store("the model's files could not be stored"):
                store_of(self._client, run).log_artifacts(str(folder), path_in_run)
            source = f"{located(self._address, run.info.artifact_uri)}/{path_in_run}"
        created = self._create(name, source, run_id, tags, description)
        first = self.same(name, fingerprint) or created
        if first.number == created.number:
            return created, True
        with answering(self._address):
            self._client.delete_model_version(name, str(created.number))
        return first, False

    def copy(self, version: Version, name: str, tags: Mapping[str, str]) -> Version:
        """Return the same model as a version of `name`, an existing one or a new copy, with `tags` added to its own."""
        known = self.same(name, version.tags[FINGERPRINT])
        if known is None:
            with answering(self._address):
                original = self._client.get_model_version(version.name, str(version.number))
            all_tags = {**version.tags, **tags}
            return self._create(name, version.uri, version.run_id, all_tags, original.description)
        self.tag(known, tags)
        return known

    def _create(
        self, name: str, source: str, run_id: str | None, tags: Mapping[str, str], description: str | None
    ) -> Version:
        with answering(self._address):
            try:
                self._client.create_registered_model(name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            return Version.of(
                self._client.create_model_version(
                    name, source, run_id, tags=dict(tags), description=description
                )
            )

    def set_champion(self, version: Version) -> None:
        """Make a version the champion of its model."""
        with answering(self._address):
            self._client.set_registered_model_alias(version.name, CHAMPION, str(version.number))

    def tag(self, version: Version, tags: Mapping[str, str]) -> None:
        """Set tags of a version; its other tags stay."""
        with answering(self._address):
            for key, value in tags.items():
                self._client.set_model_version_tag(version.name, str(version.number), key, value)

    def resolve(self, uri: str) -> Version:
        """Return the version that models:/NAME@ALIAS or models:/NAME/VERSION names; raises UserError if unknown."""
        parts = _URI.fullmatch(uri)
        if parts is None:
            raise UserError(
                f"'{uri}' is not a model URI.\nExpected models:/NAME@ALIAS or models:/NAME/VERSION."
            )
        versions = self.versions(parts["name"])
        if not versions:
            raise UserError(
                f"{uri}: {public(self._address)} has no model '{parts['name']}'.\n"
                "Register it with `mergershift register`, or set MLFLOW_TRACKING_URI to the server that has it."
            )
        if parts["alias"]:
            found = self._by_alias(parts["name"], parts["alias"])
            advice = "Run `mergershift promote` to choose a champion."
        else:
            number = int(parts["version"])
            found = next((version for version in versions if version.number == number), None)
            advice = f"Its versions: {', '.join(str(version.number) for version in versions)}."
        if found is None:
            missing = f"alias '{parts['alias']}'" if parts["alias"] else f"version {parts['version']}"
            raise UserError(f"{uri}: the model '{parts['name']}' has no {missing}.\n{advice}")
        return found

    def fetch(self, version: Version) -> Path:
        """Return the local folder of a version, which is downloaded first if necessary."""
        # The address is left out: a database is at another path after the checkout has been moved.
        identity = f"{version.uri} {version.created} {version.tags.get(FINGERPRINT)}"
        digest = hashlib.sha256(identity.encode()).hexdigest()[:12]
        folder = _cache() / version.name / f"{version.number}-{digest}"
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


def _cache() -> Path:
    """Return state/models of the checkout or, outside of a checkout, the user's cache folder."""
    try:
        return main_checkout() / "state" / "models"
    except UserError:
        home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        return Path(home) / "mergershift" / "models"
