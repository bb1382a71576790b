"""The benchmark's results: as JSON, as text and as the table in README.md."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bench_rows import Row

README = Path(__file__).with_name("README.md")
RESULTS = Path(__file__).with_name("results.json")
Results = dict[str, dict[str, Any]]
"""By name of a group: the `machine` at the time of its measurement, and its `rows` or, for the roofline, its `text`."""


def read_results(path: Path) -> Results:
    """Read earlier results; none if there is no such file."""
    results: Results = json.loads(path.read_text())["groups"] if path.is_file() else {}
    return results


def write_results(results: Results, path: Path) -> None:
    """Write results as JSON."""
    path.write_text(json.dumps({"groups": results}, indent=1, ensure_ascii=False) + "\n")


def line_of(row: Row) -> str:
    """Describe a row in a line of text."""
    cpu = "" if row.cpu_ratio is None else f", {_ratio(row.cpu_ratio)} in CPU time"
    spread = f"{_ratio(row.low)} to {_ratio(row.high)}"
    both = f"{_amount(row.plain_median, row.unit)} against {_amount(row.ours_median, row.unit)}"
    return f"{row.name:<72} {_ratio(row.ratio):>7} ({spread}{cpu})  {both}, {row.plain}"


def markdown(results: Results, order: Iterable[str]) -> str:
    """Return the table of all measured groups, and a line on each machine that measured some of them."""
    lines = [
        "| What | Beside | Plain | Ours | Plain / ours | Lowest to highest | In CPU time |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    machines: dict[str, list[str]] = {}
    texts = []
    for name in order:
        if name not in results:
            continue
        group = results[name]
        machines.setdefault(_machine(group["machine"]), []).append(name + _load(group["machine"]))
        if "text" in group:
            texts.append(group["text"])
        for row in (Row(**row) for row in group.get("rows", [])):
            cpu = "" if row.cpu_ratio is None else _ratio(row.cpu_ratio)
            values = (_amount(value, row.unit) for value in (row.plain_median, row.ours_median))
            spread = f"{_ratio(row.low)} to {_ratio(row.high)}"
            cells = (row.name, row.plain, *values, f"**{_ratio(row.ratio)}**", spread, cpu)
            lines.append(f"| {' | '.join(cells)} |")
    measured = [f"Measured on {words}: {', '.join(names)}." for words, names in machines.items()]
    parts = ["\n".join(lines), *measured, *(f"```text\n{text}\n```" for text in texts)]
    return "\n\n".join(parts)


def regenerate(text: str, name: str, content: str) -> str:
    """Return `text` with `content` between the comments that mark `name`.

    Raises ValueError unless both comments are there, once and in this order.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"expected {begin} and {end}, once each and in this order")
    head, tail = text.split(begin)[0], text.split(end)[1]
    return f"{head}{begin}\n{content}\n{end}{tail}"


def _machine(machine: Mapping[str, Any]) -> str:
    software = f"torch {machine['torch']}, oneDNN with {machine['onednn_isa']}"
    cores = f"{machine['cores']} cores, {machine['threads']} used"
    processor = f"{machine['processor']} ({', '.join(machine['instructions'])})"
    return f"{processor}, {cores}; {software}; commit {machine['commit']}"


def _load(machine: Mapping[str, Any]) -> str:
    return f" (load {machine['load_before']:.1f} to {machine['load_after']:.1f})"


def _amount(value: float, unit: str) -> str:
    if unit != "s":
        return f"{value:.0f} {unit}"
    return f"{value * 1000:.3g} ms" if value < 0.9995 else f"{value:.3g} s"


def _ratio(ratio: float) -> str:
    return f"{ratio:.0f}" if ratio >= 99.5 else f"{ratio:.1f}" if ratio >= 9.95 else f"{ratio:.2f}"
