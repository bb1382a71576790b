"""The only module that uses DVC's Python interface.

DVC does not promise to keep that interface stable, so pyproject.toml caps its version. This module uses:

- `dvc.repo.Repo`: `index.graph`, `index.stages`, `index.outs`, `reproduce(repro_fn=...)`, `checkout`, `stage_cache`,
  `cache.local_cache_dir` and `config.load_one`;
- `addressing`, `name`, `outs`, `changed`, `already_cached`, `save_deps`, `reproduce` and `dump` of a stage;
- `fs_path`, `use_cache` and `hash_info` of an output;
- `dvc.config.Config` and `merge`, `dvc.config_schema.RelPath`, `dvc.exceptions.DvcException`, `dvc.lock.LockError` and
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
    """Name on DVC's command line, for instance ``train@two-method0-0``."""
    name: str
    """Name without the key in the matrix; empty for data."""
    key: str
    """Key in the matrix; empty for a stage without one."""
    outputs: tuple[str, ...]
    """Paths relative to the project's root."""
    needs: frozenset[str]
    """Addresses of the stages that this one depends on directly."""


def dvc_repro(arguments: Sequence[str] = ()) -> None:
    """Run `dvc repro` with these arguments; raises UserError if a stage fails."""
    done = subprocess.run([sys.executable, "-m", "dvc", "repro", *arguments], cwd=root(), env=environment())
    if done.returncode:
        raise UserError(
            "The pipeline stopped; the failed stage and its error are printed above.\n"
            "Finished stages are kept: fix the error and run the same command again."
        )


@contextmanager
def quiet_dvc() -> Iterator[None]:
    """Silence DVC inside this context, and turn its exceptions into a UserError."""
    from dvc.exceptions import DvcException

    logger = logging.getLogger("dvc")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    except DvcException as error:
        message = " ".join(str(error.__cause__ or error).split())
        raise UserError(f"DVC: {message}\nFix that and run the same command again.") from error
    finally:
        logger.setLevel(before)


def read_stages(here: Path) -> list[Stage]:
    """Read all stages of the checkout `here`, in the order of dvc.yaml."""
    from dvc.repo import Repo

    with Repo(str(here)) as repo:
        graph = repo.index.graph  # its edges lead from a stage to those that it depends on
        stages = []
        for stage in repo.index.stages:
            name, _, key = (getattr(stage, "name", None) or "").partition("@")
            outputs = tuple(os.path.relpath(out.fs_path, here) for out in stage.outs)
            needs = frozenset(other.addressing for other in graph.successors(stage))
            stages.append(Stage(stage.addressing, name, key, outputs, needs))
        return stages


def restore_from_cache(here: Path, groups: Mapping[str, str]) -> set[str]:
    """Restore the stages whose results are in DVC's cache, without running anything.

    `groups` maps the address of every stage, in order of execution, to the name of its group. Returns the groups that
    contain a stage whose results the cache lacks; the later stages of such a group are not restored.
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
                _require_cached(stage)
            done = stage.reproduce(**options)
            if done:
                stage.dump(update_pipeline=False)
        except LockError:  # a DvcException that does not concern the stage itself
            raise
        except DvcException:
            stale.add(group)
            return None
        return done

    if groups:
        with Repo(str(here)) as repo:
            repo.reproduce(targets=list(groups), single_item=True, repro_fn=restore)
    return stale


def _require_cached(stage: PipelineStage) -> None:
    """Raise DVC's RunCacheNotFoundError unless its cache has the stage's results for the present dependencies."""
    from dvc_data.hashfile.hash_info import HashInfo

    if stage.already_cached():
        return
    stage.save_deps()
    for out in stage.outs:  # otherwise DVC would attribute the previous results to the new dependencies
        out.hash_info = HashInfo()
    stage.repo.stage_cache.restore(stage, dry=True)


def checkout_outputs(tree: Path, outputs: Iterable[str]) -> list[str]:
    """Link outputs from the cache into the worktree `tree`; returns those that DVC does not cache.

    `outputs` are paths relative to the project's root. Raises DVC's own exceptions if the cache lacks one of them.
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
    """Make the worktree `tree` use the cache and the whole DVC configuration of the checkout, its local part too."""
    from dvc.config import Config, merge
    from dvc.config_schema import RelPath
    from dvc.repo import Repo

    with Repo(str(here)) as repo:
        cache = repo.cache.local_cache_dir
        levels = [repo.config.load_one(level) for level in Config.REPO_LEVELS]
    with Config(str(tree / ".dvc")).edit("local") as shared:
        for level in levels:  # load_one has made their relative paths absolute
            merge(shared, level)
        # DVC writes such a path relative to the file, in which it can only write ASCII.
        shared["cache"]["dir"] = RelPath(cache)
