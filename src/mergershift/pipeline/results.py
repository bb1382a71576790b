"""Results of the pipeline that need not be computed: those in DVC's cache or in its remote.

A second module that uses DVC's Python interface; `dvc` lists what both use.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from mergershift.core.errors import UserError, first_line
from mergershift.core.redaction import public
from mergershift.pipeline.stale_locks import drop_stale_locks

if TYPE_CHECKING:
    from dvc.dependency import Dependency
    from dvc.output import Output
    from dvc.repo import Repo
    from dvc.stage import Stage as DvcStage
    from fsspec.implementations.http import HTTPFileSystem


@dataclass(frozen=True)
class Stage:
    """A stage of the pipeline, or data that DVC tracks."""

    address: str
    """Name on DVC's command line, for instance ``train@two-mmd-s0``."""
    name: str
    """Name without the key; empty for data."""
    key: str
    """Key in the matrix or mapping from which the stage is made; empty for a stage without one."""
    outputs: tuple[str, ...]
    """Paths relative to the project's root."""
    needs: frozenset[str]
    """Addresses of the stages that this one depends on directly."""


@contextmanager
def open_pipeline(here: Path) -> Iterator[Pipeline]:
    """Load the pipeline of the checkout `here` once, and hold DVC's lock on it."""
    from dvc.repo import Repo, lock_repo

    from mergershift.pipeline.known_hashes import remember_hashes
    from mergershift.pipeline.loading import share_dependencies, without_collections
    from mergershift.pipeline.lock_file import remember_parsed

    drop_stale_locks(here)
    with (
        remember_parsed(here),
        remember_hashes(here),
        share_dependencies(),
        Repo(str(here)) as repo,
        lock_repo(repo),
        repo.scm_context(quiet=True),
    ):
        with without_collections():
            pipeline = Pipeline(repo, here)
        yield pipeline


class Pipeline:
    """The stages of a checkout and their results; made by `open_pipeline`."""

    def __init__(self, repo: Repo, here: Path) -> None:
        graph = repo.index.graph  # its edges lead from a stage to those that it depends on
        self._repo = repo
        self._loaded: dict[str, DvcStage] = {stage.addressing: stage for stage in repo.index.stages}
        self.stages: list[Stage] = []
        """All stages, in the order of dvc.yaml."""
        for address, stage in self._loaded.items():
            name, _, key = (getattr(stage, "name", None) or "").partition("@")
            outputs = tuple(os.path.relpath(out.fs_path, here) for out in stage.outs)
            needs = frozenset(other.addressing for other in graph.successors(stage))
            self.stages.append(Stage(address, name, key, outputs, needs))

    def restore(self, groups: Mapping[str, str], remote: Remote, *, pull: bool) -> set[str]:
        """Restore the results that DVC's cache or its remote has, without running anything.

        Args:
            groups: Address of every stage, in order of execution, and the name of its group.
            remote: What is known of DVC's remote since the command began.
            pull: Whether to fetch everything that the remote has. Otherwise it is asked only for results that
                dvc.lock or the run cache lists but the cache lacks, and only if it answers.

        Returns:
            Groups that contain an outdated stage, or that depend on one. Their later stages are not restored.

        Raises:
            UserError: with `pull`, if the remote cannot be used.
        """
        from dvc.exceptions import DvcException
        from dvc.lock import LockError

        remote.open(self._repo, required=pull)
        _require_idle(self._repo, self._loaded.values())
        same = _Dependencies()
        needs = {stage.address: stage.needs for stage in self.stages}
        outdated: set[str] = set()
        restored: list[DvcStage] = []
        for address, group in groups.items():
            if group in outdated:
                continue
            if any(groups.get(other, other) in outdated for other in needs[address]):
                outdated.add(group)
                continue
            stage = self._loaded[address]
            try:
                if same.changed(stage):
                    same.forget(stage.outs)
                    _restore(stage, remote)
                    restored.append(stage)
            except LockError:  # a DvcException that does not concern the stage itself
                raise
            except DvcException:
                outdated.add(group)
        # DVC writes the whole lock file for every stage that it is given alone.
        for file in {id(stage.dvcfile): stage.dvcfile for stage in restored if stage.cmd}.values():
            file.dump_stages([stage for stage in restored if stage.dvcfile is file], update_pipeline=False)
        return outdated


def _require_idle(repo: Repo, stages: Iterable[DvcStage]) -> None:
    """Raise DVC's LockError if another process runs one of the stages.

    It cannot begin with one later, because this process holds DVC's lock on the checkout.
    """
    from dvc.rwlock import rwlock

    files = [out.fs_path for stage in stages for out in (*stage.deps, *stage.outs)]
    hardlink = repo.config["core"].get("hardlink_lock", False)
    with rwlock(repo.tmp_dir, repo.fs, " ".join(sys.argv), list(dict.fromkeys(files)), [], hardlink):
        pass


class _Dependencies:
    """Finds the stages that are out of date, and compares a file with what dvc.lock records only once.

    Hundreds of stages depend on the same sources and parameters. DVC compares them for each stage anew, and writes the
    file of its own lock six times for each.
    """

    def __init__(self) -> None:
        self._changed: dict[tuple[type, str, str], bool] = {}

    def forget(self, outs: Iterable[Output]) -> None:
        """Compare these outputs, and what they lie in or contain, anew when another stage depends on them."""
        paths = [os.path.join(out.fs_path, "") for out in outs]
        for key in tuple(self._changed):
            known = os.path.join(key[1], "")
            if any(known.startswith(path) or path.startswith(known) for path in paths):
                del self._changed[key]

    def changed(self, stage: DvcStage) -> bool:
        """Whether DVC would run the stage: ``stage.changed()`` without DVC's locks."""
        if stage.frozen or stage.is_callback or stage.always_changed or not stage.cmd:
            return bool(stage.changed())
        return (
            stage.changed_stage()
            or any(self._dependency_changed(dependency) for dependency in stage.deps)
            or any(out.status() for out in stage.outs)
        )

    def _dependency_changed(self, dependency: Dependency) -> bool:
        recorded = f"{dependency.hash_info} {getattr(dependency, 'params', None)}"
        key = (type(dependency), dependency.fs_path, recorded)
        if key not in self._changed:
            self._changed[key] = bool(dependency.status())
        return self._changed[key]


def _restore(stage: DvcStage, remote: Remote) -> None:
    """Restore a stage's results for the present dependencies; raises a DvcException if they are nowhere."""
    from dvc.stage.cache import RunCacheNotFoundError
    from dvc_data.hashfile.hash_info import HashInfo

    if stage.is_data_source:
        if any(out.exists for out in stage.outs):  # the user has changed it, and DVC records that
            raise RunCacheNotFoundError(stage)
        remote.fetch(stage)
        stage.checkout()
        if stage.changed():
            raise RunCacheNotFoundError(stage)
        return
    if not stage.changed_stage() and stage.deps_cached():
        remote.fetch(stage)
    if stage.already_cached():
        stage.checkout(force=True)
        if stage.changed():  # as one that DVC is to run every time
            raise RunCacheNotFoundError(stage)
        return
    stage.save_deps()
    for out in stage.outs:  # otherwise DVC would attribute the previous results to the new dependencies
        out.hash_info = HashInfo()
    remote.fetch_from_run_cache(stage)
    stage.repo.stage_cache.restore(stage, dry=True)  # raises where `run` would run the command
    stage.run()


class Remote:
    """DVC's default remote during one command: tried when it is needed, and left alone once it has failed."""

    def __init__(self) -> None:
        self._usable: bool | None = None
        self._required = False

    def open(self, repo: Repo, *, required: bool) -> None:
        """Use the remote of `repo`. If it is required it must be usable, and its run cache is fetched at once."""
        from dvc.stage.cache import RunCacheNotSupported

        self._repo, self._required = repo, required
        self._name = repo.config["core"].get("remote")
        if required:
            self._check()
            print(f"fetching what the remote '{self._name}' has", flush=True)
            try:
                repo.stage_cache.pull(None)
            except RunCacheNotSupported:  # as over HTTP: what dvc.lock lists can still be fetched
                pass
            except Exception as error:  # every kind of remote has exceptions of its own
                self._give_up(error)
        elif not self._name:
            self._usable = False

    def fetch(self, stage: DvcStage) -> None:
        """Fetch the results that dvc.lock lists for a stage into the cache, as far as the remote has them.

        Raises a DvcException if it concerns these results, and UserError if the remote is required but unusable.
        """
        from dvc.exceptions import DvcException

        if self._usable is False or not all(out.hash_info for out in stage.outs) or stage.outs_cached():
            return
        if self._usable is None:
            self._check()
        try:
            for odb, objects in stage.get_used_objs(force=True).items() if self._usable else ():
                self._repo.cloud.pull(objects, odb=odb)
        except DvcException:
            self._check()
            raise
        except Exception as error:
            self._give_up(error)
        if self._usable and not stage.outs_cached():
            self._check()  # DVC reports a broken connection in the same way as a missing result

    def fetch_from_run_cache(self, stage: DvcStage) -> None:
        """Fetch the results of an earlier run of a stage with the present dependencies, if the run cache lists one."""
        from dvc.stage.cache import _can_hash

        cache = self._repo.stage_cache
        known = cache._load(stage) if _can_hash(stage) else None
        if known:
            self.fetch(cache._create_stage(known, wdir=stage.wdir))

    def _check(self) -> None:
        """Find out whether the remote can be used; if it cannot but is required, raise UserError."""
        from dvc.config import NoRemoteError

        try:
            remote = self._repo.cloud.get_remote(command="pull")
            if remote.fs.protocol in ("http", "https"):
                _require_answer(remote.fs.fs, remote.path)
            elif not remote.fs.exists(remote.path) and remote.fs.protocol != "s3":  # which has no folders
                raise FileNotFoundError(f"{remote.path} does not exist")
            self._usable = True
        except NoRemoteError as error:
            raise UserError(
                "No DVC remote is configured that results could be fetched from.\n"
                "Add one with `mergershift team init --remote ADDRESS`, or leave out --pull."
            ) from error
        except Exception as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._usable = False
        url = public(str(self._repo.config["remote"].get(self._name, {}).get("url", "")))
        found = f"DVC remote '{self._name}' ({url}) cannot be used: {first_line(error)}"
        if self._required:
            raise UserError(
                f"{found}\nFind out why with `mergershift team check`, or leave out --pull."
            ) from error
        print(f"{found}\nWhat it may have is computed again.", file=sys.stderr, flush=True)


def _require_answer(files: HTTPFileSystem, url: str) -> None:
    """Raise an OSError or one of aiohttp's exceptions unless a server answers; it need not list the folder `url`."""
    from aiohttp import ClientResponseError

    try:
        files.exists(url, strict=True)
    except ClientResponseError as error:
        if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise
