"""The step that registers a training: which one it is, and its lineage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import BaseModel
from rich.console import Console

from mergershift import tracking
from mergershift.archive import images_of
from mergershift.cells import ledger
from mergershift.cells.finished import FinishedTraining
from mergershift.cells.layout import EVALUATED, TRAINED
from mergershift.cells.records import STARTED_FROM
from mergershift.cells.run_content import run_spec
from mergershift.cells.summary_files import read_trainings
from mergershift.config import Config
from mergershift.core.checkout import root
from mergershift.core.citation import references
from mergershift.core.errors import UserError
from mergershift.core.reading import LARGEST
from mergershift.core.yaml_files import read_yaml
from mergershift.images.locate import prepared_images
from mergershift.registry.candidate import Candidate
from mergershift.registry.choice import Choice
from mergershift.registry.model_card import CARD
from mergershift.registry.pages import model_description, version_description, version_tags
from mergershift.tracking.exported_models import save_program
from mergershift.tracking.model_registry import Registry
from mergershift.tracking.model_version import Version
from mergershift.tracking.pages import model_page
from mergershift.tracking.presentation import STUDY_PAGE
from mergershift.tracking.roles import CANDIDATES, EDITOR


def register_step(config: Config, choice: Choice) -> str:
    """Register a training as a candidate; returns up to three lines to print.

    Registering the same model again returns the existing version.
    """
    name = config.tracking.model
    candidate = _candidate(choice.trainings)
    training = candidate.training
    address = tracking.tracking_address(config.tracking.uri)
    registry = Registry(address)
    record = training.record
    run_id = registry.run_of(record.training, record.experiment)
    if run_id is None:
        raise UserError(
            f"{training.name}: {tracking.public(address)} has no run of this training, or the run was deleted.\n"
            "Publish it with `mergershift sync` (or restore it there), then register the training again."
        )
    registered = f"{name}{CANDIDATES}"
    registry.require_write(registered, EDITOR)
    known = registry.same(registered, candidate.fingerprint)
    if known is None:
        # Computing the features of thousands of images takes a while, so a terminal shows a spinner.
        message = f"{training.name}: computing features and exporting the model"
        with Console(stderr=True).status(message):
            version, new = _publish(registry, candidate, name, run_id, choice.among)
    else:
        version, new = known, False
    page = registry.page(version)
    shown = f"\nIts page: {page}" if page else ""
    if not new:
        return f"{training.name}: this model is already registered as {version.uri}{shown}"
    return (
        f"{candidate.title}: registered as {version.uri}, with a balanced accuracy on the target's test images "
        f"({images_of(candidate.facts.data_kind)}) of {candidate.accuracy}.\n"
        f"Compare it with the champion of '{name}' with `mergershift promote {version.number}`.{shown}"
    )


def _publish(
    registry: Registry, candidate: Candidate, name: str, run_id: str, among: str
) -> tuple[Version, bool]:
    """Register the model as a candidate for `name`; returns the version and whether it is new."""
    training, registered = candidate.training, f"{name}{CANDIDATES}"
    lineage = _lineage(training, run_id) | _members(candidate) | {"fingerprint": candidate.fingerprint}
    # The model as it is used, a mean over views, has not been tested before.
    ledger.record(
        f"{candidate.title}, registered",
        training.trained.data_hash,
        training.trained.split.model_dump(mode="json"),
    )
    with TemporaryDirectory() as temporary:
        staged, model = Path(temporary) / "files", Path(temporary) / "model"
        staged.mkdir()
        files = candidate.write(
            staged,
            choice=among,
            lineage=lineage,
            evaluations=ledger.count(
                training.trained.data_hash, training.trained.split.model_dump(mode="json")
            ),
            references=references(),
        )
        save_program(candidate.program, candidate.example, list(candidate.facts.columns), model, files)
        links = _links(registry, training) | {"How to use the model": model_page("", registered)}
        description = version_description((staged / CARD).read_text(), links)
        tags = version_tags(candidate.facts, candidate.accuracy, lineage)
        outcome = registry.publish(model, registered, run_id, candidate.fingerprint, tags, description)
    registry.describe_model(registered, model_description(name, registered, registry.address))
    return outcome


def _links(registry: Registry, training: FinishedTraining) -> dict[str, str]:
    """Addresses of the training's run and of the page of its study, as far as the server has them, by their texts."""
    record = training.record
    study = read_trainings("Run `mergershift summary`, which makes it again.")
    of_study = run_spec(training.folder / TRAINED, record, study).study
    pages = {"Run of the training": registry.run_page(record.training, record.experiment)}
    if of_study is not None:
        pages["Page of the study"] = registry.run_page(of_study, record.experiment, STUDY_PAGE)
    return {text: page for text, page in pages.items() if page is not None}


def _candidate(trainings: Sequence[FinishedTraining]) -> Candidate:
    prepared = prepared_images(trainings[0].config)
    for training in trainings:
        training.require_data(prepared.facts["data_hash"], prepared.folder)
    return Candidate(trainings, prepared)


def _lineage(training: FinishedTraining, run_id: str) -> dict[str, str]:
    """Collect the lineage of a model, for its card and the tags of its version."""
    trained = training.trained
    return {
        "run_id": run_id,
        "training": training.record.training,
        "dvc_stage": _stage(training.folder),
        "data_kind": trained.provenance.kind,
        "data_hash": trained.data_hash,
        "git_commit": trained.git_commit or "none",
        "git_dirty": str(trained.git_dirty).lower(),
        "config_hash": trained.config_hash,
        **{key: value for key, value in training.record.tags.items() if key in STARTED_FROM},
    }


def _members(candidate: Candidate) -> dict[str, str]:
    others = candidate.facts.members[1:]
    return {
        f"member {number}": f"{member.name} ({member.training})" for number, member in enumerate(others, 2)
    }


class _LockedStage(BaseModel):
    outs: list[dict[str, Any]] = []


class _Lock(BaseModel):
    """The part of dvc.lock that names stages and their outputs."""

    stages: dict[str, _LockedStage] = {}


def _stage(cell: Path) -> str:
    """Name of the pipeline stage that evaluated the cell; "none" outside the pipeline."""
    lock = root() / "dvc.lock"
    if not lock.exists():
        return "none"
    output = (cell / EVALUATED).relative_to(root()).as_posix()
    content = read_yaml(lock, _Lock, "Restore the file, or run `mergershift repro`.", LARGEST)
    names = [
        name for name, stage in content.stages.items() if output in [out.get("path") for out in stage.outs]
    ]
    return names[-1] if names else "none"  # DVC keeps the entry of a stage under the name that it had before
