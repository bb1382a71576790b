"""The run of a study in MLflow: its page and its tables, with the result in the description."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from mergershift.archive import images_of
from mergershift.cells.layout import PAGE_NAME, REPORT, RUN, SUMMARY, TRAINED
from mergershift.cells.records import RunContent, RunRecord, RunSpec
from mergershift.cells.summary_files import (
    PAGE_RECORD,
    STUDY_COPY,
    PageRecord,
    read_best,
    read_table,
    read_trainings,
    summary_digest,
    summary_files,
)
from mergershift.config.study import Cell, Method
from mergershift.config.study_choice import name_of_study
from mergershift.core.checkout import root
from mergershift.core.errors import UserError
from mergershift.core.reading import DamagedFile, damaged, read_json
from mergershift.core.words import counted
from mergershift.evaluation.conclusions import Conclusion, conclude
from mergershift.tracking.notes import NOTE
from mergershift.tracking.presentation import SEPARATOR, STUDY_PAGE, with_interval

_AGAIN = "Run `mergershift repro`, which makes the summary and the page again."
_SCORE = "balanced_accuracy"


def study_content() -> RunContent | None:
    """Collect the content of the study's run from outputs/summary/ and outputs/report/; None if one is missing.

    Raises UserError if the page was made from another summary, or if a file is damaged.
    """
    report = root() / REPORT
    trainings = read_trainings(_AGAIN)
    if trainings is None or not (report / PAGE_NAME).is_file():
        return None
    if not (report / PAGE_RECORD).is_file():
        raise UserError(f"{report}: made by an earlier version, which did not record its study.\n{_AGAIN}")
    record = read_json(report / PAGE_RECORD, PageRecord, _AGAIN)
    if (record.study, record.summary) != (trainings.study, summary_digest()):
        raise UserError(f"{report / PAGE_NAME}: made from a summary other than {root() / SUMMARY}.\n{_AGAIN}")
    pages = Path(STUDY_PAGE).parent
    paths = {f"{pages}/{path.name}": path for path in sorted(report.glob("*.html"))}
    paths[STUDY_COPY] = report / STUDY_COPY
    paths |= {f"{SUMMARY.name}/{path.name}": path for path in summary_files()}
    transfer = read_table("transfer", _AGAIN)
    made = int((report / PAGE_NAME).stat().st_mtime * 1000)
    spec = RunSpec(
        training=record.study,
        experiment=record.experiment,
        name=_name(report / STUDY_COPY),
        config={},
        tags={
            "kind": "study",
            "data_kind": str(transfer["data"].iloc[0]),
            "mlflow.source.name": "mergershift report",
            **_origin(),
            NOTE: _description(transfer),
        },
        started=made,
    )
    files = {name: _bytes(path) for name, path in paths.items()}
    return RunContent(spec, "FINISHED", made, epochs=[], epoch_times={}, metrics={}, files=files)


def _name(study: Path) -> str:
    """Name the study by what it consists of, for instance ``study · demo · two, three · 1 seed``."""
    table = read_table("trainings", _AGAIN)
    name = name_of_study(study)
    seeds = table["seed"].nunique()
    parts = [name] if name else []
    filters = ", ".join(dict.fromkeys(map(str, table["filters"])))
    return SEPARATOR.join(["study", *parts, filters, counted(seeds, "seed")])


def _origin() -> dict[str, str]:
    """Return the tags with the user and the commit that made the first training, if it has not been replaced."""
    first = read_table("trainings", _AGAIN).iloc[0]
    method = Method.model_validate({name: first[name] for name in ("transfer", "adaptation", "experiment")})
    path = root() / Cell(first["filters"], method, int(first["seed"])).folder / TRAINED / RUN
    try:
        record = RunRecord.read(path)
    except DamagedFile:
        return {}
    known = record.tags if record.training == first["training"] else {}
    return {name: known[name] for name in ("mlflow.user", "mlflow.source.git.commit") if name in known}


def _description(transfer: pd.DataFrame) -> str:
    """Describe the study in Markdown: its images, and for each filter set and direction what was lost and won back."""
    galaxies, seeds = int(transfer["galaxies"].max()), int(transfer["seeds"].max())
    images = images_of(str(transfer["data"].iloc[0]))
    head = (
        f"**Study on {images}.** Balanced accuracy with 95 % intervals on {galaxies} test galaxies, "
        f"{counted(seeds, 'training seed')}:"
    )
    foot = f"The page of the study is the artifact `{STUDY_PAGE}`, its tables are in `{SUMMARY.name}/`."
    return "\n\n".join([head, "\n".join(_results(transfer)), foot])


def _results(transfer: pd.DataFrame) -> Iterator[str]:
    chosen = transfer[
        (transfer["choice"] == "label_free") & (transfer["rows"] == "unique") & (transfer["metric"] == _SCORE)
    ]
    comparison = read_table("comparison", _AGAIN)
    best = {(entry.filters, entry.source, entry.target): entry for entry in read_best(_AGAIN)}
    for setting, part in chosen.groupby(["filters", "source", "target"], sort=False):
        filters, source, target = map(str, setting)
        entry = best.get((filters, source, target))
        named = entry.method if entry else None
        sentences = []
        for method, rows in _by_method(part):
            on_target = _score(rows, "target")
            if method.is_baseline:
                sentences.append(
                    f"source-only {_score(rows, 'source')} on {source} images, {on_target} on {target} ones"
                )
            elif method.is_oracle:
                title = "oracle" if method.title == method.transfer else f"{method.title} (an oracle)"
                sentences.append(f"{title}, with target labels, {on_target}")
            if method == named and not method.is_baseline:
                rows_of_method = (rows for other, rows in _by_method(comparison) if other == method)
                compared = next(rows_of_method, None)
                claim = "" if compared is None else f", {_claim(compared, filters, source, target)}"
                sentences.append(f"{method.title}, ranked first without target labels, {on_target}{claim}")
        if named is not None and named.is_baseline:
            sentences.append("no method is ranked above source-only without target labels")
        yield f"- **{filters}, {source} → {target}**: {'; '.join(sentences)}."


def _by_method(table: pd.DataFrame) -> Iterator[tuple[Method, pd.DataFrame]]:
    names = ["transfer", "adaptation", "experiment"]
    if not table.empty:
        for values, rows in table.groupby(names, sort=False):
            yield Method.model_validate(dict(zip(names, values, strict=True))), rows


def _score(rows: pd.DataFrame, role: str) -> str:
    row = rows[rows["role"] == role].iloc[0]
    return with_interval(
        _SCORE, {_SCORE: row["value"]} | {f"{_SCORE}.{end}": row[end] for end in ("low", "high")}
    )


def _claim(rows: pd.DataFrame, filters: str, source: str, target: str) -> str:
    """State a method's difference from source-only, and what it supports."""
    of_setting = (rows[["filters", "source", "target"]] == [filters, source, target]).all(axis=1)
    row = rows[of_setting].iloc[0]
    difference = {"gain": row["difference"], "gain.low": row["low"], "gain.high": row["high"]}
    found = f"{with_interval('gain', difference, '+')} (p = {row['p_holm']:.2g} after Holm's correction)"
    if conclude(row) is Conclusion.OPEN:
        return f"not distinguishable from source-only: {found}"
    return f"a {conclude(row)} of {found} against source-only"


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise damaged(path, f"cannot be read ({error.strerror or error})", _AGAIN) from error
