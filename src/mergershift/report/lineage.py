"""The lineage of the results on the page: configurations, data, code and MLflow runs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from mergershift.cells.finished import FinishedTraining
from mergershift.config import Config
from mergershift.config.study import Study
from mergershift.core.checkout import git, root
from mergershift.core.nesting import flattened
from mergershift.core.reading import read_text
from mergershift.core.redaction import public
from mergershift.report.all_trainings import anchor, page_of, target_score
from mergershift.report.study_results import Contender, StudyResults
from mergershift.report.values import number

LOCAL = "http://127.0.0.1:5000"
"""Address at which `mergershift ui` serves the runs of the project's own database."""


@dataclass(frozen=True)
class Looks:
    """The test evaluations on the images of a filter set under the study's split."""

    filter_names: str
    count: int
    first: str
    """Day of the first one that the ledger knows, empty if it knows none."""
    last: str


def test_evaluations(gathered: StudyResults) -> list[Looks]:
    """Number of test evaluations on the images of each filter set, and the days of the first and the last."""
    from mergershift.cells.ledger import times

    found: dict[str, Looks] = {}
    for setting in gathered.settings:
        facts = setting.contenders[0].first.trained
        # The ledger of a checkout that took its results from a shared cache lacks the evaluations behind them.
        on_page = sum(len(contender.trainings) for contender in setting.contenders)
        known = times(facts.data_hash, facts.split.model_dump(mode="json"))
        days = sorted(time[: len("2026-01-01")] for time in known if time)
        before = found.get(setting.filter_names)
        count = max(len(known), on_page, before.count if before else 0)
        found[setting.filter_names] = Looks(
            setting.filter_names, count, *(days[0], days[-1]) if days else ("", "")
        )
    return list(found.values())


def rules_committed(study: Study) -> str:
    """Day on which the rules of selection were last committed (UTC); empty if they were not, or were changed since."""
    path = f"conf/selection/{study.selection}.yaml"
    if git("status", "--porcelain", "--", path, folder=root()) != "":
        return ""
    when = git("log", "-1", "--format=%cd", "--date=format-local:%Y-%m-%d", "--", path, folder=root())
    return when or ""


def configurations(gathered: StudyResults) -> dict[str, Any]:
    """The configuration that all trainings share, and that of each method, which together are complete.

    ``common`` is text, a key and its value per line. ``methods`` holds the name, colour, description and text of each
    method; where a value depends on filters, direction or seed, the text lists all values of its key.
    """
    dumps = {id(training): _json_values(training.config) for training in gathered.trainings}
    everything = list(dumps.values())
    keys = list(dict.fromkeys(key for dump in everything for key in dump))
    common = {key: everything[0].get(key) for key in keys if len({dump.get(key) for dump in everything}) == 1}
    methods: dict[str, dict[str, Any]] = {}
    for setting in gathered.settings:
        for contender in setting.contenders:
            entry = methods.setdefault(
                contender.name,
                {
                    "name": contender.name,
                    "hue": contender.style.variable,
                    "about": _about(contender),
                    "dumps": [],
                },
            )
            entry["dumps"] += [dumps[id(training)] for training in contender.trainings]
    for entry in methods.values():
        own = entry.pop("dumps")
        lines = []
        for key in keys:
            values = list(dict.fromkeys(dump[key] for dump in own if key in dump))
            if key not in common and values:
                lines.append(f"{key}: {' | '.join(values)}")
        entry["text"] = "\n".join(lines)
    return {
        "common": "\n".join(f"{key}: {value}" for key, value in common.items()),
        "methods": list(methods.values()),
    }


def _json_values(config: Config) -> dict[str, str]:
    """Values of a configuration as JSON, by their dotted keys."""
    return {key: json.dumps(value, ensure_ascii=False) for key, value in flattened(config.dump())}


def _about(contender: Contender) -> str:
    """The description of a method in the comment at the top of its file in conf/."""
    method = contender.method
    if method.title == method.transfer:
        group, name = "transfer", method.transfer
    elif method.title == method.adaptation:
        group, name = "adaptation", method.adaptation
    else:
        group, name = "experiment", method.experiment
    path = root() / "conf" / group / f"{name}.yaml"
    lines = read_text(path, "Fix the file.").splitlines() if path.exists() else []
    comment = []
    for line in lines:
        if not line.startswith("#"):
            break
        comment.append(line.removeprefix("#").strip())
    return " ".join(line for line in comment if not line.startswith("@package"))


def runs(gathered: StudyResults) -> dict[str, Any]:
    """List every training with its epochs, hashes, commit and the address of its MLflow run."""
    from mergershift.config import compose
    from mergershift.tracking import recorded_address

    configured = compose().tracking.uri
    entries, local = [], False
    for setting in gathered.settings:
        for contender in setting.contenders:
            for training in contender.trainings:
                address = _public(recorded_address(training.config.tracking.uri, configured))
                local |= address == LOCAL
                shown = {
                    "setting": setting,
                    "contender": contender,
                    "shown_at": f"{page_of(setting)}#{anchor(contender)}",
                }
                entries.append(shown | _run(training, address))
    commits = {(entry["commit"], entry["dirty"]) for entry in entries}
    return {"entries": entries, "local": local, "commits": len(commits), "dirty": any(d for _, d in commits)}


def _run(training: FinishedTraining, address: str) -> dict[str, Any]:
    from mergershift.tracking.pages import run_page

    facts, selection, record = training.trained, training.selection, training.record
    return {
        "seed": training.config.seed,
        "accuracy": number(target_score(training)),
        "auc": number(target_score(training, "auc")),
        "epochs": facts.epochs,
        "epoch": selection.epoch,
        "oracle_epoch": selection.oracle_epoch,
        "commit": facts.git_commit,
        "dirty": facts.git_dirty,
        "config_hash": facts.config_hash,
        "data_hash": facts.data_hash,
        "run_id": record.run_id,
        "address": run_page(address, record.experiment_id, record.run_id) if record.run_id else "",
    }


def _public(address: str) -> str:
    """Address of MLflow's pages, without user name and password."""
    parts = urlsplit(public(address))
    if parts.scheme not in ("http", "https"):
        return LOCAL
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))
