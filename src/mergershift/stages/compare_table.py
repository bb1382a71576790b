"""A comparison of trainings as it is printed: a column a run, as many side by side as the terminal has room for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from mergershift.evaluation import ROLES
from mergershift.stages.compare import ComparedRun, Comparison
from mergershift.tracking.presentation import shown, with_interval

_WIDEST = 36
"""Number of characters of a value after which it is continued on the next line."""
_GAP = 2
_CLASS = "_target_"
_NAMES = {"balanced_accuracy": "balanced accuracy", "auc": "AUC", "ece": "ECE"}
_WHAT_P_MEANS = (
    "Interval and p are of the same test, Welch's, on the galaxies of each class: p is below 0.05 where the interval "
    "excludes 0. Both take the trainings as they are; other seeds would differ in addition."
)
Rows = Mapping[str, Sequence[str]]


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print what the runs differ in, their scores, and their differences from the first one."""
    runs = comparison.runs
    for line in _heading(runs):
        console.print(line, highlight=False, markup=False)
    letters = [run.letter for run in runs]
    parameters = {name: _texts(values) for name, values in comparison.parameters.items()}
    if not parameters and not comparison.settings:
        console.print("\nNo parameter or setting differs.", highlight=False)
    _print(console, "Differing parameters", letters, parameters)
    settings = {
        name.removesuffix(f".{_CLASS}"): _texts(
            [_class_name(value) for value in values] if _CLASS in name else values
        )
        for name, values in comparison.settings.items()
    }
    _print(console, "Other settings that differ", letters, settings)
    _print(console, "Scores on test images, with 95 % intervals", letters, _scores(runs))
    _print(
        console,
        "Chosen epoch, and its scores on validation images (higher is better)",
        letters,
        _choices(runs),
    )
    first, *others = letters
    _print(
        console,
        f"Balanced accuracy minus that of {first}, on the same test galaxies",
        others,
        _differences(comparison, others),
    )
    if any(comparison.differences.values()):
        console.print(_WHAT_P_MEANS, highlight=False)


def reasons(comparison: Comparison) -> list[str]:
    """Return a sentence for each difference that is missing, with the reason."""
    found = []
    for letter, by_role in comparison.reasons.items():
        for reason in dict.fromkeys(by_role.values()):
            roles = " and ".join(role for role, other in by_role.items() if other == reason)
            first = comparison.runs[0].letter
            found.append(f"no difference of {letter} from {first} on the {roles}: {reason}.")
    return found


def _heading(runs: Sequence[ComparedRun]) -> Iterator[str]:
    images = list(dict.fromkeys(run.images for run in runs))
    if len(images) == 1:
        yield f"Images: {images[0]}"
    for run in runs:
        galaxies, renderings = run.sizes
        of_images = f", {run.images}" * (len(images) > 1)
        yield f"{run.letter}  {run.name}"
        yield f"   {run.folder}"
        yield f"   {galaxies} test galaxies in {renderings} renderings{of_images}"


def _scores(runs: Sequence[ComparedRun]) -> Rows:
    names = list(dict.fromkeys(name for run in runs for name in run.scores))
    rows = {}
    for name in names:
        role, metric = name.split(" ")
        rows[f"{role} {_NAMES[metric]}"] = [_interval(run.scores.get(name, {})) for run in runs]
    return rows


def _choices(runs: Sequence[ComparedRun]) -> Rows:
    rows = {name: _texts([run.choice[name] for run in runs]) for name in runs[0].choice}
    names = dict.fromkeys(name for run in runs for name in run.validators)
    return rows | {name: _texts([run.validators.get(name) for run in runs]) for name in names}


def _differences(comparison: Comparison, others: Sequence[str]) -> Rows:
    rows: dict[str, list[str]] = {}
    for role in reversed(ROLES):
        found = [comparison.differences[letter].get(role) for letter in others]
        rows[role] = ["none" if pair is None else _interval(pair._asdict(), "+") for pair in found]
        rows[f"{role}, p"] = ["" if pair is None else f"{pair.p:.2g}" for pair in found]
        if sum(pair is not None for pair in found) > 1:
            rows[f"{role}, p after Holm"] = ["" if pair is None else f"{pair.p_holm:.2g}" for pair in found]
    return rows


def _interval(score: Mapping[str, float], sign: str = "") -> str:
    if not math.isfinite(score.get("value", math.nan)):
        return "undefined"
    named = {"x": score["value"]} | {f"x.{end}": score[end] for end in ("low", "high") if end in score}
    return with_interval("x", named, sign)


def _texts(values: Sequence[Any]) -> list[str]:
    return ["-" if value is None else shown(value) for value in values]


def _class_name(value: Any) -> Any:
    """Return the name of a class without that of its module."""
    return value.rpartition(".")[2] if isinstance(value, str) else value


def _print(console: Console, title: str, heads: Sequence[str], rows: Rows) -> None:
    """Print a table in as many parts as the terminal's width requires, each with the names of the rows."""
    if not rows:
        return
    console.print(f"\n{title}", style="bold", highlight=False)
    widths = [
        max(len(head), *(min(len(cells[place]), _WIDEST) for cells in rows.values()))
        for place, head in enumerate(heads)
    ]
    room = console.width - min(max(map(len, rows)), _WIDEST) - _GAP
    for places in _parts(widths, room):
        table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
        table.add_column("", overflow="fold", max_width=_WIDEST)
        for place in places:
            table.add_column(heads[place], overflow="fold", max_width=_WIDEST)
        for name, cells in rows.items():
            table.add_row(name, *(cells[place] for place in places))
        console.print(table, highlight=False, markup=False)


def _parts(widths: Sequence[int], room: int) -> Iterator[list[int]]:
    """Divide columns into parts that have room beside each other, at least one in each."""
    part: list[int] = []
    for place, width in enumerate(widths):
        if part and sum(widths[other] + _GAP for other in part) + width + 1 > room:
            yield part
            part = []
        part.append(place)
    yield part
