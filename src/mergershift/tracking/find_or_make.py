"""The run of a training on a server, created there if the server does not know it."""

from __future__ import annotations

from mlflow.exceptions import MlflowException

from mergershift.cells.records import RunSpec
from mergershift.tracking.find_run import RunFinder, deleted
from mergershift.tracking.notes import NOTE
from mergershift.tracking.pages import run_page
from mergershift.tracking.presentation import PARENT_TAG, STUDY_PAGE, TRAINING_TAG, run_name, shown_tags
from mergershift.tracking.published_run import Links, PublishedRun


def find_or_make(
    finder: RunFinder, spec: RunSpec, *, restore: bool = False
) -> tuple[PublishedRun, Links] | None:
    """Return the run of a training and its links, creating the run if the server does not know it.

    If the run or its experiment has been deleted, it is restored only if `restore` is set; otherwise the result
    is None.
    """
    client = finder.client
    experiment = finder.experiment(spec.experiment, restore=restore)
    if experiment is None:
        return None
    run = finder.find(experiment, spec.training)
    created = run is None
    if run is None:
        tags = {TRAINING_TAG: spec.training, **shown_tags(spec, {})}
        tags.pop(NOTE, None)  # `describe` adds it, with the digest by which an edited one is recognised
        client.create_run(experiment, start_time=spec.started, tags=tags, run_name=run_name(spec))
        # The run in the answer may be a duplicate: of a request sent twice, or of one that another process created.
        run = finder.find_again(experiment, spec.training)
        if run is None:
            raise MlflowException(f"the run of {spec.name} was created but cannot be found")
    if deleted(run):
        if not restore:
            return None
        client.restore_run(run.info.run_id)
    published = PublishedRun(client, run)
    published.changed = created
    return published, _links(finder, experiment, spec)


def _links(finder: RunFinder, experiment: str, spec: RunSpec) -> Links:
    parent = finder.find(experiment, spec.parent) if spec.parent is not None else None
    study = finder.find(experiment, spec.study) if spec.study is not None else None
    return Links(
        tags={} if parent is None else {PARENT_TAG: parent.info.run_id},
        study=None
        if study is None or deleted(study)
        else run_page("", experiment, study.info.run_id, STUDY_PAGE),
    )
