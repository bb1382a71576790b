"""Measure how fast everything is, beside the plain form of the same work.

    python benchmarks/bench.py                           # all groups; `make bench` runs this
    python benchmarks/bench.py --only steps --only plans # some groups
    python benchmarks/bench.py --quick                   # fewer repeats and smaller sizes
    python benchmarks/bench.py --only steps --network deepmerge --method coral --method sidda

Every row is a ratio of two forms that one process measures in turns: the median of the turns, with the lowest and the
highest. Above 1, the project's form takes less. Where both forms are large against the changes of the load, the ratios
of wall and CPU time agree; where they differ, another process was running and the second is the one to read.

Each group of a full run is written to benchmarks/results.json and into the table of benchmarks/README.md as soon as it
is measured; those of some groups replace theirs there only with --save. Each records the machine that it was measured
on. Linux only.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import bench_commands
import bench_penalties
import bench_training
import click
import roofline
import torch
from bench_rows import ROOT, Options, Row, machine
from bench_table import README, RESULTS, line_of, markdown, read_results, regenerate, write_results

AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
"""Environment in which PyTorch's libraries use no instruction set beyond AVX2."""
LIMITED = "BENCH_LIMITED_TO_AVX2"


def avx2(options: Options) -> list[Row]:
    """Measure the step of mmd in a process that computes as on a processor without AVX-512 and AMX."""
    output = options.scratch / "avx2.json"
    command = [sys.executable, __file__, "--only", "steps", "--network", "deepmerge", "--method", "mmd"]
    command += ["--repeats", str(options.repeats), "--threads", str(options.threads), "--json", str(output)]
    command += ["--quick"] if options.quick else []
    subprocess.run(
        command, check=True, env=os.environ | AVX2 | {LIMITED: "1"}, stdout=subprocess.DEVNULL, cwd=ROOT
    )
    rows = [Row(**row) for row in read_results(output)["steps"]["rows"]]
    return [replace(row, group="avx2", name=f"{row.name}, AVX2 only") for row in rows]


def steps(options: Options) -> list[Row]:
    """Measure training steps; without matrix units, in float32 alone."""
    return bench_training.steps(options, with_bf16=LIMITED not in os.environ)


GROUPS: dict[str, Callable[[Options], list[Row] | str]] = {
    "steps": steps,
    "published": bench_training.published,
    "avx2": avx2,
    "lightning": bench_training.lightning,
    "batches": bench_penalties.batches,
    "penalties": bench_penalties.penalties,
    "prepare": bench_commands.preparation,
    "mock": bench_commands.mock,
    "evaluation": bench_commands.evaluation,
    "prediction": bench_commands.predictions,
    "commands": bench_commands.commands,
    "cell": bench_commands.cell,
    "plans": bench_commands.plans,
    "roofline": roofline.table,
}
"""The groups in the order of the table; each returns rows, or a text."""


@click.command()
@click.option(
    "--only", multiple=True, type=click.Choice(list(GROUPS)), help="Measure this group; may be repeated."
)
@click.option("--quick", is_flag=True, help="Fewer repeats and smaller sizes, for a first look.")
@click.option(
    "--repeats", type=click.IntRange(min=1), help="Number of turns.  [default: 5, or 2 with --quick]"
)
@click.option(
    "--threads", default=1, show_default=True, type=click.IntRange(min=1), help="Threads of a training."
)
@click.option(
    "--network",
    "networks",
    multiple=True,
    type=click.Choice(list(bench_training.BATCH)),
    help="[default: all]",
)
@click.option(
    "--method", "methods", multiple=True, help="Files of conf/adaptation.  [default: source_only, mmd, dann]"
)
@click.option(
    "--cells", multiple=True, type=click.IntRange(min=3), help="Sizes of studies.  [default: 6, 60, 300]"
)
@click.option(
    "--json", "output", type=click.Path(path_type=Path, dir_okay=False), help="Write the results there too."
)
@click.option("--save", is_flag=True, help="With --only: replace these groups in results.json and README.md.")
def main(
    only: tuple[str, ...],
    quick: bool,
    repeats: int | None,
    threads: int,
    networks: tuple[str, ...],
    methods: tuple[str, ...],
    cells: tuple[int, ...],
    output: Path | None,
    save: bool,
) -> None:
    """Print a line for each row of the table, and write JSON and the table."""
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    chosen = only or tuple(GROUPS)
    with tempfile.TemporaryDirectory() as scratch:
        options = Options(
            scratch=Path(scratch),
            quick=quick,
            repeats=repeats or (2 if quick else 5),
            threads=threads,
            networks=networks or tuple(bench_training.BATCH),
            methods=methods or ("source_only", "mmd", "dann"),
            cells=cells or ((6,) if quick else (6, 60, 300)),
        )
        measured = {}
        same_machine = machine(threads)  # once, because saving a group changes files of the commit
        for name in (name for name in GROUPS if name in chosen):
            facts = dict(same_machine)
            facts["load_before"] = os.getloadavg()[0]
            torch.use_deterministic_algorithms(False)  # which trainings of an earlier group have turned on
            started = time.perf_counter()
            result = GROUPS[name](options)
            facts |= {"load_after": os.getloadavg()[0], "seconds": round(time.perf_counter() - started)}
            print("\n".join(map(line_of, result)) if isinstance(result, list) else result, flush=True)
            content = (
                {"rows": [row.plainly() for row in result]} if isinstance(result, list) else {"text": result}
            )
            measured[name] = {"machine": facts, **content}
            if output is not None:
                write_results(measured, output)
            if save or not (only or quick):  # after each group, so that an interruption costs one
                results = read_results(RESULTS) | {name: measured[name]}
                write_results(results, RESULTS)
                README.write_text(regenerate(README.read_text(), "bench", markdown(results, GROUPS)))


if __name__ == "__main__":
    main()
