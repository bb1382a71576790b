"""The cells of the study in DVC's graph: the chains of stages that start with a training and touch no other cell."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import networkx

from mergershift.pipeline.dvc import Stage, read_stages, restore_from_cache

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


def read_plan(here: Path) -> PipelinePlan:
    """Find the cells in DVC's graph of stages, and the stages outside the cells that they need."""
    stages = {stage.address: stage for stage in read_stages(here)}
    graph = networkx.DiGraph([(stage.address, other) for stage in stages.values() for other in stage.needs])
    graph.add_nodes_from(stages)
    in_order = [stages[address] for address in networkx.dfs_postorder_nodes(graph)]
    first = [stage for stage in in_order if stage.name == FIRST]
    downstream = {stage.address for stage in first}.union(
        *(networkx.ancestors(graph, stage.address) for stage in first)
    )
    cells: list[CellStages] = []
    before: set[str] = set()
    for start in first:
        members: list[Stage] = []
        outside: set[str] = set()
        for stage in in_order:
            needed = networkx.descendants(graph, stage.address)
            known = {member.address for member in members}
            same = stage is start or (members and stage.key == start.key)
            if same and stage.address in downstream and not (needed & downstream) - known:
                members.append(stage)
                outside |= needed - known
        if members:
            known = {member.address for member in members}
            direct = set().union(*(member.needs for member in members)) - known
            inputs = sorted(output for address in direct for output in stages[address].outputs)
            cells.append(
                CellStages(_folder(start), tuple(member.address for member in members), tuple(inputs))
            )
            before |= outside
    order = {address: position for position, address in enumerate(stages)}
    return PipelinePlan(
        tuple(sorted(before, key=order.__getitem__)),
        tuple(sorted(cells, key=lambda cell: order[cell.stages[0]])),
    )


def collect(here: Path, cells: Sequence[CellStages]) -> list[CellStages]:
    """Restore every cell whose results are in DVC's cache, without running anything; returns the others."""
    stale = restore_from_cache(here, {address: cell.name for cell in cells for address in cell.stages})
    return [cell for cell in cells if cell.name in stale]


def _folder(start: Stage) -> str:
    """Folder of a cell relative to outputs/: the parent of the folder train/ that its training writes to."""
    common = Path(os.path.commonpath(start.outputs))
    parts = common.parts[: common.parts.index(FIRST)] if FIRST in common.parts else common.parts
    return "/".join(parts[1:] if parts[0] == "outputs" else parts)
