"""The page of the experiment in MLflow: its kind, and a description of what its columns mean."""

from __future__ import annotations

from mlflow import MlflowClient
from mlflow.entities import Experiment

from mergershift.tracking.notes import note_tags

KIND_TAG, KIND = "mlflow.experimentKind", "custom_model_development"
"""Tag by which MLflow distinguishes experiments that train models from its GenAI ones."""
_COLUMNS = {
    "`target/balanced_accuracy`": "score on the target's test images; epoch and threshold chosen without target labels",
    "`target_95`": "the same with its 95 % interval over galaxies, without the scatter between trainings",
    "`target/gain`": "gain in balanced accuracy over the network trained on the source alone, same seed and galaxies",
    "`source/...`, `uncertainty/...`": "scores on the source's test images; bounds of all 95 % intervals",
    "`validators/...`": "the chosen epoch and threshold, and its score by each validator on validation images "
    "(`_judged`: on those that compare methods)",
    "`method`, `adaptation`": "the experiment, or the adaptation where the experiment changes nothing; the adaptation",
    "`labels`": "the domain whose labels were used, which for `oracle` is the target; `tuned on` the target where its "
    "labels chose the hyper-parameters",
    "`settings`": "a short name for all settings and data: runs that share it differ in nothing but their seeds",
    "`data`": "`mock` for artificial images, whose scores say nothing about real galaxies; `archive` for the archive's",
}
DESCRIPTION = "\n".join(
    [
        "Classifiers of galaxy mergers, trained with labels of one domain (**source**) and tested on another "
        "(**target**), whose labels they do not see. Each run is one training; searches of hyper-parameters and "
        "studies have runs of their own. Columns to compare:",
        "",
        "| column | meaning |",
        "|---|---|",
        *(f"| {column} | {meaning} |" for column, meaning in _COLUMNS.items()),
        "",
        "Names that begin with `oracle` mark whatever uses target labels. A study's own run (`kind` is `study`) holds "
        "its page, `report/index.html`, under Artifacts.",
    ]
)


def page_tags() -> dict[str, str]:
    """Return the tags of a new experiment."""
    return {KIND_TAG: KIND, **note_tags(DESCRIPTION, {})}


def describe_experiment(client: MlflowClient, experiment: Experiment) -> None:
    """Add the kind and the description that the experiment lacks; those that a user has changed stay."""
    tags = dict(experiment.tags)
    missing = note_tags(DESCRIPTION, tags) | ({} if KIND_TAG in tags else {KIND_TAG: KIND})
    for key, value in missing.items():
        client.set_experiment_tag(experiment.experiment_id, key, value)
