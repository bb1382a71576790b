"""Registered models: versions with tags and aliases, one for each model however often it is registered."""

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
from mergershift.tracking.find_run import deleted, find
from mergershift.tracking.server import answering, connect, public, reaching_store

CHAMPION = "champion"
VERSION_RECORD = "registered_model_meta"
"""File in a fetched model's folder that says which version it is; MLflow's own loader writes the same."""
FINGERPRINT = "mergershift.fingerprint"
"""Tag that holds what makes two models the same one (`registry.Facts.fingerprint`)."""
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
    """Milliseconds since 1970: a number that was deleted may be given again."""

    @property
    def uri(self) -> str:
        """Its address, for instance models:/mergershift/3."""
        return f"models:/{self.name}/{self.number}"

    @classmethod
    def of(cls, found: ModelVersion) -> Version:
        """From what MLflow's client returns."""
        return cls(
            found.name, int(found.version), dict(found.tags), found.run_id or None, found.creation_timestamp
        )


class Registry:
    """The registry of the server or database at an address.

    Every method raises UserError where it does not answer.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        with answering():
            self._client = connect(address)

    def run_of(self, training: str, experiment: str) -> str | None:
        """The id of the run of a training; None where the server does not know it or it was deleted there."""
        with answering():
            found = self._client.get_experiment_by_name(experiment)
            run = find(self._client, found.experiment_id, training) if found else None
            return None if run is None or deleted(run) else str(run.info.run_id)

    def versions(self, name: str) -> list[Version]:
        """All versions of a registered model, the oldest first; none where there is no such model."""
        with answering():
            found, token = [], None
            while True:
                page = self._client.search_model_versions(f"name = '{name}'", page_token=token)
                found += [Version.of(each) for each in page]
                token = page.token
                if not token:
                    return sorted(found, key=lambda each: each.number)

    def same(self, name: str, fingerprint: str) -> Version | None:
        """The version of `name` that is the model with this fingerprint; the first of several."""
        every = self.versions(name)
        return next((each for each in every if each.tags.get(FINGERPRINT) == fingerprint), None)

    def champion(self, name: str) -> Version | None:
        """The version of `name` that is the champion."""
        return self._by_alias(name, CHAMPION)

    def _by_alias(self, name: str, alias: str) -> Version | None:
        with answering():
            try:
                return Version.of(self._client.get_model_version_by_alias(name, alias))
            except MlflowException as error:
                # A model without the alias is an invalid parameter to MLflow, not an absent resource.
                if error.error_code not in (_ABSENT, "INVALID_PARAMETER_VALUE"):
                    raise
                return None

    def publish(
        self, folder: Path, name: str, run_id: str, tags: Mapping[str, str], description: str
    ) -> tuple[Version, bool]:
        """Log the model in `folder` into its training's run and register it; returns the version and whether it is new.

        Where a version with the same fingerprint is there already, or another process makes one at the same time, the
        lower one stays.
        """
        mark = tags[FINGERPRINT]
        known = self.same(name, mark)
        if known is not None:
            return known, False
        # Two models of one training (by other thresholds, say) must not overwrite each other.
        place = f"models/{mark[:16]}"
        with answering():
            with reaching_store("the model's files could not be stored"):
                self._client.log_artifacts(run_id, str(folder), place)
            source = f"{self._client.get_run(run_id).info.artifact_uri}/{place}"
        made = self._create(name, source, run_id, tags, description)
        first = self.same(name, mark) or made
        if first.number == made.number:
            return made, True
        with answering():
            self._client.delete_model_version(name, str(made.number))
        return first, False

    def copy(self, version: Version, name: str, tags: Mapping[str, str]) -> Version:
        """The same model as a version of `name`: the one that is there already, or a new one with the same tags."""
        known = self.same(name, version.tags[FINGERPRINT])
        if known is None:
            with answering():
                original = self._client.get_model_version(version.name, str(version.number))
            made = {**version.tags, **tags}
            return self._create(name, version.uri, version.run_id, made, original.description)
        self.tag(known, tags)
        return known

    def _create(
        self, name: str, source: str, run_id: str | None, tags: Mapping[str, str], description: str | None
    ) -> Version:
        with answering():
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
        with answering():
            self._client.set_registered_model_alias(version.name, CHAMPION, str(version.number))

    def tag(self, version: Version, tags: Mapping[str, str]) -> None:
        """Set tags of a version."""
        with answering():
            for key, value in tags.items():
                self._client.set_model_version_tag(version.name, str(version.number), key, value)

    def resolve(self, uri: str) -> Version:
        """The version that models:/NAME@ALIAS or models:/NAME/VERSION names; raises UserError for an unknown one."""
        parts = _URI.fullmatch(uri)
        if parts is None:
            raise UserError(
                f"'{uri}' is no model's address.\nExpected models:/NAME@ALIAS or models:/NAME/VERSION."
            )
        every = self.versions(parts["name"])
        if not every:
            raise UserError(
                f"{uri}: {public(self._address)} has no model '{parts['name']}'.\n"
                "Register one with `mergershift register`, or set MLFLOW_TRACKING_URI to the server that has it."
            )
        if parts["alias"]:
            found = self._by_alias(parts["name"], parts["alias"])
            advice = "`mergershift promote` makes a champion."
        else:
            found = next((each for each in every if each.number == int(parts["version"])), None)
            advice = f"It has {', '.join(str(each.number) for each in every)}."
        if found is None:
            what = f"alias '{parts['alias']}'" if parts["alias"] else f"version {parts['version']}"
            raise UserError(f"{uri}: the model '{parts['name']}' has no {what}.\n{advice}")
        return found

    def fetch(self, version: Version) -> Path:
        """The folder of a version on this machine, downloaded where it is not there yet."""
        identity = f"{self._address} {version.uri} {version.created} {version.tags.get(FINGERPRINT)}"
        mark = hashlib.sha256(identity.encode()).hexdigest()[:12]
        folder = _cache() / version.name / f"{version.number}-{mark}"
        if not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            partial = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}.part")
            try:
                with answering():
                    # Asked for by models:/... MLflow would look in the registry of its environment.
                    place = self._client.get_model_version_download_uri(version.name, str(version.number))
                    with reaching_store(f"the files of {version.uri} could not be fetched"):
                        made = artifacts.download_artifacts(
                            place, dst_path=str(partial), tracking_uri=self._address
                        )
                record = f"model_name: {json.dumps(version.name)}\nmodel_version: '{version.number}'\n"
                (Path(made) / VERSION_RECORD).write_text(record)
                try:
                    os.replace(made, folder)
                except OSError:
                    if not folder.is_dir():  # else another process was quicker
                        raise
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        return folder


def fetch_model(address: str, uri: str) -> Path:
    """The folder of a registered model on this machine, downloaded once for each version.

    Args:
        address: of the server or database (`tracking_address`).
        uri: models:/NAME@ALIAS or models:/NAME/VERSION.

    Raises UserError for an unknown name, alias or version, and where the address does not answer.
    """
    registry = Registry(address)
    return registry.fetch(registry.resolve(uri))


def _cache() -> Path:
    """state/models of the checkout; outside of one, the user's folder for what can be fetched again."""
    try:
        return main_checkout() / "state" / "models"
    except UserError:
        home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        return Path(home) / "mergershift" / "models"
