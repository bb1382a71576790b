"""The data sets of a training, as the inputs of its run in MLflow."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
from mlflow.data.schema import TensorDatasetSchema
from mlflow.entities import Dataset, DatasetInput, InputTag
from mlflow.types import Schema, TensorSpec

from mergershift.archive import FILTER_SETS, IMAGE_SIZE
from mergershift.cells.records import RunSpec
from mergershift.tracking.presentation import is_described, kind_of
from mergershift.tracking.target_use import adapted_to_target, trained_on_labels_of_target

CONTEXT = "mlflow.data.context"


def data_inputs(spec: RunSpec, *, evaluated: bool) -> dict[str, DatasetInput]:
    """Return the inputs of a run by their contexts; none if its record does not identify the images.

    MLflow keeps one input for each name and digest, so test images have names of their own.

    Args:
        spec: facts of the run.
        evaluated: whether the network was tested.
    """
    digest = spec.tags.get("data_hash")
    if kind_of(spec) == "study" or not digest or not is_described(spec):
        return {}
    transfer = spec.config["transfer"]
    if trained_on_labels_of_target(spec):
        contexts = {"target training": (transfer["target"], "")}
    else:
        contexts = {"source training": (transfer["source"], "")}
        if adapted_to_target(spec):
            contexts["target training (no labels)"] = (transfer["target"], "")
    if evaluated:
        contexts |= {f"{role} test": (transfer[role], "-test") for role in ("source", "target")}
    return {
        context: DatasetInput(_data_set(spec, domain, suffix, digest[:16]), [InputTag(CONTEXT, context)])
        for context, (domain, suffix) in contexts.items()
    }


def _data_set(spec: RunSpec, domain: str, suffix: str, digest: str) -> Dataset:
    kind, seed = spec.tags.get("data_kind"), spec.tags.get("data_seed")
    filters, archive = spec.config["filters"]["name"], spec.config.get("archive")
    name = "-".join(str(part) for part in (kind, seed, filters, domain) if part)
    source_type, source = "local", {"uri": "data.dvc"}
    if kind == "archive" and isinstance(archive, Mapping) and archive.get("address"):
        source_type, source = "http", {"url": str(archive["address"])}
    return Dataset(
        name=f"{name}{suffix}",
        digest=digest,
        source_type=source_type,
        source=json.dumps(source),
        schema=json.dumps(_schema(filters).to_dict()),
    )


def _schema(filters: str) -> TensorDatasetSchema:
    channels = len(FILTER_SETS[filters].filters) if filters in FILTER_SETS else -1
    images = TensorSpec(np.dtype(np.float32), (-1, channels, IMAGE_SIZE, IMAGE_SIZE), "image")
    labels = TensorSpec(np.dtype(np.int64), (-1,), "merger")
    return TensorDatasetSchema(Schema([images]), Schema([labels]))
