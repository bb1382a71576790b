"""Where the figures of the page come from: configurations, data, code, MLflow runs, and what to cite."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from mergershift.cells.finished import FinishedTraining
from mergershift.config import Config
from mergershift.core.checkout import root
from mergershift.core.nesting import flattened
from mergershift.core.redaction import public
from mergershift.report.study_results import Contender, StudyResults

LOCAL = "http://127.0.0.1:5000"
"""Where `mergershift ui` shows the runs of the project's own database."""


def test_evaluations(gathered: StudyResults) -> list[tuple[str, int]]:
    """Filter names and how often trainings were tested on their test rows, under this split."""
    from mergershift.cells.ledger import count

    found: dict[str, int] = {}
    for setting in gathered.settings:
        facts = setting.contenders[0].first.trained
        # A checkout that took its results from a shared cache has not counted those who made them.
        shown = sum(len(each.trainings) for each in setting.contenders)
        known = max(count(facts.data_hash, facts.split.model_dump(mode="json")), shown)
        found[setting.filter_names] = max(known, found.get(setting.filter_names, 0))
    return list(found.items())


def configurations(gathered: StudyResults) -> dict[str, Any]:
    """What all trainings have in common, and what each method adds, so that both together are exact.

    ``common`` is text; ``methods`` holds name, description, text and, for keys whose value depends on filters,
    direction or seed, their values in words.
    """
    dumps = {id(run): _texts(run.config) for run in gathered.trainings}
    everything = list(dumps.values())
    keys = list(dict.fromkeys(key for each in everything for key in each))
    common = {key: everything[0].get(key) for key in keys if len({each.get(key) for each in everything}) == 1}
    methods: dict[str, dict[str, Any]] = {}
    for setting in gathered.settings:
        for each in setting.contenders:
            entry = methods.setdefault(
                each.name, {"name": each.name, "hue": each.look.variable, "about": _about(each), "dumps": []}
            )
            entry["dumps"] += [dumps[id(run)] for run in each.trainings]
    for entry in methods.values():
        own = entry.pop("dumps")
        lines = []
        for key in keys:
            values = list(dict.fromkeys(each[key] for each in own if key in each))
            if key not in common and values:
                lines.append(f"{key}: {' | '.join(values)}")
        entry["text"] = "\n".join(lines)
    return {
        "common": "\n".join(f"{key}: {value}" for key, value in common.items()),
        "methods": list(methods.values()),
    }


def _texts(config: Config) -> dict[str, str]:
    """Dotted keys of a configuration and their values as JSON."""
    return {key: json.dumps(value, ensure_ascii=False) for key, value in flattened(config.dump())}


def _about(each: Contender) -> str:
    """What the file of the method in conf/ says of it in its first lines of comment."""
    method = each.method
    if method.title == method.transfer:
        group, name = "transfer", method.transfer
    elif method.title == method.adaptation:
        group, name = "adaptation", method.adaptation
    else:
        group, name = "experiment", method.experiment
    path = root() / "conf" / group / f"{name}.yaml"
    lines = path.read_text().splitlines() if path.is_file() else []
    comment = []
    for line in lines:
        if not line.startswith("#"):
            break
        comment.append(line.removeprefix("#").strip())
    return " ".join(line for line in comment if not line.startswith("@package"))


def runs(gathered: StudyResults) -> dict[str, Any]:
    """Every training with its epochs, hashes, commit and the address of its MLflow run."""
    from mergershift.tracking import tracking_address

    entries, local = [], False
    for setting in gathered.settings:
        for each in setting.contenders:
            for run in each.trainings:
                address = _public(tracking_address(run.config.tracking.uri))
                local |= address == LOCAL
                entries.append({"setting": setting, "contender": each, **_run(run, address)})
    commits = {(entry["commit"], entry["dirty"]) for entry in entries}
    return {"entries": entries, "local": local, "commits": len(commits), "dirty": any(d for _, d in commits)}


def _run(run: FinishedTraining, address: str) -> dict[str, Any]:
    facts, selection = run.trained, run.selection
    return {
        "seed": run.config.seed,
        "epochs": facts.epochs,
        "epoch": selection.epoch,
        "oracle_epoch": selection.oracle_epoch,
        "commit": facts.git_commit,
        "dirty": facts.git_dirty,
        "config_hash": facts.config_hash,
        "data_hash": facts.data_hash,
        "run_id": run.record.run_id,
        "address": f"{address}/#/runs/{run.record.run_id}",
    }


def _public(address: str) -> str:
    """The address of MLflow's pages, without a user's name and password."""
    parts = urlsplit(public(address))
    if parts.scheme not in ("http", "https"):
        return LOCAL
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))
