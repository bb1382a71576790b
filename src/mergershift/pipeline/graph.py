"""The cells of the study as DVC knows them: its stages that begin with a training and touch no other cell."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dvc.stage import PipelineStage

FIRST = "train"
"""Stage with which a cell begins."""


@dataclass(frozen=True)
class Cell:
    """Stages of the pipeline that follow one another and touch no other cell."""

    name: str
    """Its folder under outputs/, for instance cells/two/pristine_to_noisy/mmd/default/seed0; its state too."""
    stages: tuple[str, ...]
    inputs: tuple[str, ...]
    """What other stages give it, as paths from the root."""


@dataclass(frozen=True)
class Plan:
    """The pipeline from the cells' point of view."""

    before: tuple[str, ...]
    cells: tuple[Cell, ...]


def read_plan(here: Path) -> Plan:
    """Find the cells in DVC's graph of stages, and the stages outside that they need."""
    import networkx
    from dvc.repo import Repo

    with Repo(str(here)) as repo:
        graph = repo.index.graph  # from a stage to those it depends on
        in_order = list(networkx.dfs_postorder_nodes(graph))
        first = [stage for stage in in_order if _split(stage)[0] == FIRST]
        downstream = set(first).union(*(networkx.ancestors(graph, stage) for stage in first))
        cells, before = [], set()
        for start in first:
            members: list[PipelineStage] = []
            outside: set[Any] = set()
            for stage in in_order:
                needed = networkx.descendants(graph, stage)
                same = stage is start or (members and _split(stage)[1] == _split(start)[1])
                if same and stage in downstream and not (needed & downstream).difference(members):
                    members.append(stage)
                    outside |= needed.difference(members)
            if members:
                near = set().union(*(graph.successors(stage) for stage in members)).difference(members)
                inputs = sorted(os.path.relpath(out.fs_path, here) for stage in near for out in stage.outs)
                cells.append(
                    Cell(_folder(start, here), tuple(each.addressing for each in members), tuple(inputs))
                )
                before |= outside
        order = {stage.addressing: place for place, stage in enumerate(repo.index.stages)}
        return Plan(
            tuple(sorted((each.addressing for each in before), key=order.__getitem__)),
            tuple(sorted(cells, key=lambda cell: order[cell.stages[0]])),
        )


def collect(here: Path, cells: Sequence[Cell]) -> list[Cell]:
    """Bring every cell up to date whose results lie in DVC's cache, running nothing; returns the others."""
    from dvc.exceptions import DvcException
    from dvc.lock import LockError
    from dvc.repo import Repo

    owner = {name: cell for cell in cells for name in cell.stages}
    stale: dict[str, Cell] = {}

    def bring(stage: PipelineStage, **options: Any) -> PipelineStage | None:
        cell = owner[stage.addressing]
        if cell.name in stale:
            return None
        try:
            if stage.changed():
                _look_up(stage)
            done = stage.reproduce(**options)
            if done:
                stage.dump(update_pipeline=False)
        except LockError:  # says nothing about the cell
            raise
        except DvcException:
            stale[cell.name] = cell
            return None
        return done

    if cells:
        with Repo(str(here)) as repo:
            repo.reproduce(targets=list(owner), single_item=True, repro_fn=bring)
    return [cell for cell in cells if cell.name in stale]


def _look_up(stage: PipelineStage) -> None:
    """Raise DVC's RunCacheNotFoundError unless its cache has the stage's results for what lies here now."""
    from dvc_data.hashfile.hash_info import HashInfo

    if stage.already_cached():
        return
    stage.save_deps()
    for out in stage.outs:  # else DVC would take the last run's results for those of the new dependencies
        out.hash_info = HashInfo()
    stage.repo.stage_cache.restore(stage, dry=True)


def _split(stage: Any) -> tuple[str, str]:
    """Name of a stage and its key in the matrix: ("train", "two-method0-0")."""
    name, _, key = (getattr(stage, "name", None) or "").partition("@")
    return name, key


def _folder(start: PipelineStage, here: Path) -> str:
    """The cell's folder under outputs/: above the one named train in which its training writes."""
    common = Path(os.path.commonpath([os.path.relpath(out.fs_path, here) for out in start.outs]))
    parts = common.parts[: common.parts.index(FIRST)] if FIRST in common.parts else common.parts
    return "/".join(parts[1:] if parts[0] == "outputs" else parts)
