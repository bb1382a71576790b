"""The cells of the study in DVC's graph: the chains of stages that start with a training and touch no other cell."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

import networkx

from mergershift.pipeline.dvc import quiet_dvc
from mergershift.pipeline.results import Remote, Stage, open_pipeline

FIRST = "train"
"""Name of the first stage of every cell."""


@dataclass(frozen=True)
class CellStages:
    """The stages of a cell: they depend on one another and on no other cell."""

    name: str
    """Folder under outputs/ and under state/, for instance cells/two/pristine_to_noisy/mmd/default/seed0."""
    stages: tuple[str, ...]
    """Addresses of the stages, in order of execution."""
    inputs: tuple[str, ...]
    """Outputs of other stages that the cell needs, as paths relative to the project's root."""


@dataclass(frozen=True)
class PipelinePlan:
    """The pipeline divided into cells and the stages that have to run before them."""

    before: tuple[str, ...]
    """Addresses of the stages that the cells need, in the order of dvc.yaml."""
    cells: tuple[CellStages, ...]
    groups: dict[str, str]
    """Name of the cell of each stage by its address, or the address itself outside the cells, in order of execution."""

    def stages_of(self, groups: Collection[str]) -> list[str]:
        """Return the addresses of the stages of these groups, in order of execution."""
        return [address for address, group in self.groups.items() if group in groups]


def read_plan(stages: Sequence[Stage]) -> PipelinePlan:
    """Find the cells among all stages of a pipeline, and the stages outside the cells that they need."""
    known = {stage.address: stage for stage in stages}
    graph = _graph(stages)
    in_order = [known[address] for address in networkx.dfs_postorder_nodes(graph)]
    first = [stage for stage in in_order if stage.name == FIRST]
    downstream: set[str] = set()
    for stage in in_order:
        if stage.name == FIRST or not downstream.isdisjoint(stage.needs):
            downstream.add(stage.address)
    by_key: dict[str, list[Stage]] = {}
    for stage in in_order:
        by_key.setdefault(stage.key, []).append(stage)
    cells: list[CellStages] = []
    before: set[str] = set()
    for start in first:
        members: dict[str, Stage] = {}
        for stage in by_key[start.key]:
            same = stage is start or members
            if same and stage.address in downstream and (stage.needs & downstream) <= members.keys():
                members[stage.address] = stage
        if members:
            direct = set().union(*(member.needs for member in members.values())) - members.keys()
            inputs = sorted(output for address in direct for output in known[address].outputs)
            cells.append(CellStages(_folder(start), tuple(members), tuple(inputs)))
            before |= direct
    for address in tuple(before):
        before |= networkx.descendants(graph, address)
    order = {address: position for position, address in enumerate(known)}
    cell_of = {address: cell.name for cell in cells for address in cell.stages}
    return PipelinePlan(
        tuple(sorted(before, key=order.__getitem__)),
        tuple(sorted(cells, key=lambda cell: order[cell.stages[0]])),
        {stage.address: cell_of.get(stage.address, stage.address) for stage in in_order},
    )


def survey(here: Path, remote: Remote | None = None, *, pull: bool = False) -> tuple[PipelinePlan, set[str]]:
    """Restore all results that DVC's cache or its remote has; returns the plan and what is out of date.

    That is names of cells and addresses of other stages; it includes what depends on them. Nothing is run. `remote` and
    `pull` are those of `Pipeline.restore`.
    """
    with (
        chdir(here),
        quiet_dvc(),
        open_pipeline(here) as pipeline,
    ):  # addresses are relative to the working directory
        plan = read_plan(pipeline.stages)
        return plan, pipeline.restore(plan.groups, remote or Remote(), pull=pull)


def _graph(stages: Sequence[Stage]) -> networkx.DiGraph:
    """Graph of the stages' addresses; its edges lead from a stage to those that it depends on."""
    graph = networkx.DiGraph([(stage.address, other) for stage in stages for other in stage.needs])
    graph.add_nodes_from(stage.address for stage in stages)
    return graph


def _folder(start: Stage) -> str:
    """Folder of a cell relative to outputs/: the parent of the folder train/ that its training writes to."""
    common = Path(os.path.commonpath(start.outputs))
    parts = common.parts[: common.parts.index(FIRST)] if FIRST in common.parts else common.parts
    return "/".join(parts[1:] if parts[0] == "outputs" else parts)
