"""The description of a run in MLflow's pages."""

from __future__ import annotations

from collections.abc import Mapping

from mergershift.archive import images_of
from mergershift.cells.records import RunSpec
from mergershift.tracking.presentation import (
    OBJECTIVES,
    SEPARATOR,
    TARGET_SCORE,
    Kind,
    is_described,
    kind_of,
    method_parts,
    with_interval,
)
from mergershift.tracking.target_use import (
    adapted_to_target,
    trained_on_labels_of_target,
    tuned_on_labels_of_target,
)


def description(spec: RunSpec, metrics: Mapping[str, float], study: str | None = None) -> str | None:
    """Describe the run in three lines of Markdown: what was trained, its scores, and where it belongs.

    Args:
        spec: facts of the run.
        metrics: its final metrics, by their names in the record and the evaluation.
        study: address of the page of the study's run.
    """
    kind = kind_of(spec)
    if kind == "study" or not is_described(spec):
        return None
    links = [f"[The study that it is part of]({study})"] if study else []
    stage = [f"DVC stage `{spec.tags['dvc_stage']}`"] if spec.tags.get("dvc_stage") else []
    where = SEPARATOR.join([f"`{spec.name}`", *stage, *links])
    return "\n\n".join([_what(spec, kind), _scores(kind, metrics), where])


def _what(spec: RunSpec, kind: Kind) -> str:
    transfer = spec.config["transfer"]
    method = f"**{SEPARATOR.join(method_parts(spec))}**"
    target, on_target = transfer["target"], trained_on_labels_of_target(spec)
    labelled = target if on_target else transfer["source"]
    images = images_of(spec.tags.get("data_kind") or "unknown")
    seed = f" (seed {spec.tags['data_seed']})" if spec.tags.get("data_seed") else ""
    begin = {"search": "Hyper-parameter search for ", "trial": "Trial of a hyper-parameter search for "}.get(
        kind, ""
    )
    trained = f"{begin}{method}, trained with the labels of {labelled} images"
    adapted = f", adapted to {target} ones without theirs" * adapted_to_target(spec)
    tuned = f", but its hyper-parameters were tuned with the labels of {target} images" * (
        tuned_on_labels_of_target(spec) and not on_target
    )
    return f"{trained}{adapted}{tuned}; {spec.config['filters']['name']} filters, {images}{seed}."


def _scores(kind: Kind, metrics: Mapping[str, float]) -> str:
    if kind == "search":
        counts = [
            f"{metrics[name]:.0f} {name}" for name in ("completed", "pruned", "failed") if name in metrics
        ]
        best = [f"{name} {metrics[f'best_{name}']:.4f}" for name in OBJECTIVES if f"best_{name}" in metrics]
        return f"Trials: {', '.join(counts)}; best {', '.join(best)}." if counts else "Not finished yet."
    if kind == "trial":
        objectives = [f"{name} {metrics[name]:.4f}" for name in OBJECTIVES if name in metrics]
        return f"On validation images: {', '.join(objectives)}." if objectives else "Not finished yet."
    if TARGET_SCORE not in metrics:
        return "Not evaluated yet."
    parts = [
        f"{role} {with_interval(f'{role}.unique.balanced_accuracy', metrics)}"
        for role in ("target", "source")
    ]
    gain = f"; difference from source-only {with_interval('gain', metrics, '+')}" if "gain" in metrics else ""
    sizes = [
        f"{metrics[f'target.unique.{size}']:.0f} {word}"
        for size, word in (("galaxies", "test galaxies"), ("images", "renderings"), ("seeds", "seed"))
        if f"target.unique.{size}" in metrics
    ]
    return f"Balanced accuracy with 95 % intervals: {', '.join(parts)}{gain}. {', '.join(sizes)}."
