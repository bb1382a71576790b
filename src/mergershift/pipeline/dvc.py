"""The only use of DVC's Python interface.

None of it is promised to stay, which is why pyproject.toml caps DVC's version. Used are:

- `dvc.repo.Repo`: `index.graph`, `index.stages`, `index.outs`, `reproduce(repro_fn=...)`, `checkout`, `stage_cache`,
  `cache.local_cache_dir` and `config.load_one`;
- of a stage: `addressing`, `name`, `outs`, `changed`, `already_cached`, `save_deps`, `reproduce` and `dump`;
- of an output: `fs_path`, `use_cache` and `hash_info`;
- `dvc.config.Config` and `merge`, `dvc.exceptions.DvcException`, `dvc.lock.LockError` and
  `dvc_data.hashfile.hash_info.HashInfo`.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mergershift.core.checkout import root
from mergershift.core.errors import UserError
from mergershift.core.processes import environment

if TYPE_CHECKING:
    from dvc.stage import PipelineStage


@dataclass(frozen=True)
class Stage:
    """A stage of the pipeline, or data that DVC tracks."""

    address: str
    """How DVC's command line names it, for instance ``train@two-method0-0``."""
    name: str
    """Without its key in the matrix; empty for data."""
    key: str
    outputs: tuple[str, ...]
    """Paths from the root."""
    needs: frozenset[str]
    """Addresses of the stages that it depends on directly."""


def dvc_repro(arguments: Sequence[str] = ()) -> None:
    """Run `dvc repro` with these arguments; raises UserError where a stage failed."""
    done = subprocess.run([sys.executable, "-m", "dvc", "repro", *arguments], cwd=root(), env=environment())
    if done.returncode:
        raise UserError(
            "The pipeline stopped; see the stage and its error above.\n"
            "What was finished is kept: fix it and give the command again."
        )


@contextmanager
def quiet_dvc() -> Iterator[None]:
    """DVC in this process: silent, and what it cannot do is a UserError."""
    from dvc.exceptions import DvcException

    logger = logging.getLogger("dvc")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    except DvcException as error:
        message = " ".join(str(error.__cause__ or error).split())
        raise UserError(f"DVC: {message}\nFix that and give the command again.") from error
    finally:
        logger.setLevel(before)


def read_stages(here: Path) -> list[Stage]:
    """All stages of the checkout `here`, in the order of dvc.yaml."""
    from dvc.repo import Repo

    with Repo(str(here)) as repo:
        graph = repo.index.graph  # from a stage to those it depends on
        stages = []
        for stage in repo.index.stages:
            name, _, key = (getattr(stage, "name", None) or "").partition("@")
            outputs = tuple(os.path.relpath(out.fs_path, here) for out in stage.outs)
            needs = frozenset(other.addressing for other in graph.successors(stage))
            stages.append(Stage(stage.addressing, name, key, outputs, needs))
        return stages


def restore_from_cache(here: Path, groups: Mapping[str, str]) -> set[str]:
    """Bring stages up to date whose results lie in DVC's cache, running nothing.

    `groups` has the stages' addresses, in order, and the group of each. Returns the groups with a stage whose results
    the cache lacks; what follows it in its group is left alone.
    """
    from dvc.exceptions import DvcException
    from dvc.lock import LockError
    from dvc.repo import Repo

    stale: set[str] = set()

    def restore(stage: PipelineStage, **options: Any) -> PipelineStage | None:
        group = groups[stage.addressing]
        if group in stale:
            return None
        try:
            if stage.changed():
                _look_up(stage)
            done = stage.reproduce(**options)
            if done:
                stage.dump(update_pipeline=False)
        except LockError:  # says nothing about the stage
            raise
        except DvcException:
            stale.add(group)
            return None
        return done

    if groups:
        with Repo(str(here)) as repo:
            repo.reproduce(targets=list(groups), single_item=True, repro_fn=restore)
    return stale


def _look_up(stage: PipelineStage) -> None:
    """Raise DVC's RunCacheNotFoundError unless its cache has the stage's results for what lies here now."""
    from dvc_data.hashfile.hash_info import HashInfo

    if stage.already_cached():
        return
    stage.save_deps()
    for out in stage.outs:  # else DVC would take the last run's results for those of the new dependencies
        out.hash_info = HashInfo()
    stage.repo.stage_cache.restore(stage, dry=True)


def checkout_outputs(tree: Path, outputs: Iterable[str]) -> list[str]:
    """Link outputs (paths from the root) out of the cache into the worktree `tree`; returns those it does not keep.

    Raises DVC's own exceptions where the cache lacks one.
    """
    from dvc.repo import Repo

    with Repo(str(tree)) as repo:
        cached: Mapping[str, bool] = {
            os.path.relpath(out.fs_path, tree): out.use_cache for out in repo.index.outs
        }
        wanted = list(outputs)
        targets = [str(tree / name) for name in wanted if cached[name]]
        if targets:
            repo.checkout(targets=targets, force=True)
    return [name for name in wanted if not cached[name]]


def share_cache(here: Path, tree: Path) -> None:
    """Give the worktree `tree` the checkout's whole DVC configuration, its local part included, and its cache."""
    from dvc.config import Config, merge
    from dvc.repo import Repo

    with Repo(str(here)) as repo:
        cache = repo.cache.local_cache_dir
        levels = [repo.config.load_one(level) for level in Config.REPO_LEVELS]
    with Config(str(tree / ".dvc")).edit("local") as shared:
        for level in levels:  # with paths made absolute from where they were written
            merge(shared, level)
        shared["cache"]["dir"] = str(cache)
