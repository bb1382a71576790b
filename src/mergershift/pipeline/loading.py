"""DVC's stages, loaded without repeating what they have in common.

Every cell of a study depends on the same sources and parameter files. For each of these, in every stage anew, DVC looks
up a file system, checks settings of remotes and resolves the path, which for 300 cells takes most of the time in which
the pipeline is loaded. Inside `share_dependencies`, it does so once for each path.
"""

from __future__ import annotations

import copy
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

_OWN = ("stage", "annot", "meta", "hash_info")
"""What each dependency has for itself; everything else follows from its path."""


@contextmanager
def share_dependencies() -> Iterator[None]:
    """Let DVC resolve each path in the checkout that stages depend on once, inside this context and in this process."""
    from dvc.dependency import Dependency, ParamsDependency
    from dvc.output import Output

    resolved: dict[tuple[Any, ...], dict[str, Any]] = {}

    def make(self: Any, stage: Any, path: str, info: Any = None, **settings: Any) -> None:
        """Initialise a dependency, as DVC does."""
        repo = settings.get("repo") or stage.repo
        plain = type(self) in (Dependency, ParamsDependency) and repo is stage.repo and not info
        if not plain or any(value for name, value in settings.items() if name != "repo"):
            Output.__init__(self, stage, path, info, **settings)
            return
        key = (type(self), id(repo), stage.wdir, path, *settings)
        known = resolved.get(key)
        if known is None:
            before = self.__dict__.keys() | set()
            Output.__init__(self, stage, path, info, **settings)
            if self.fs is repo.fs:
                known = {name: value for name, value in self.__dict__.items() if name not in before}
                own = {name: copy.copy(known[name]) for name in _OWN if name != "stage"}
                resolved[key] = known | own
            return
        self.__dict__.update(known)
        self.stage = stage
        self.annot = replace(known["annot"], labels=[], meta={})
        self.meta, self.hash_info = copy.copy(known["meta"]), copy.copy(known["hash_info"])

    if "__init__" in vars(Dependency):  # inside another such context
        yield
        return
    Dependency.__init__ = make
    try:
        yield
    finally:
        del Dependency.__init__


@contextmanager
def without_collections() -> Iterator[None]:
    """Do not look for garbage inside this context, which makes hundreds of thousands of objects that all stay."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()
