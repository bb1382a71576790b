"""Which classes a `_target_` in conf/ may name, and the creation of what it describes.

Hydra would import and call whatever a configuration names, `os.system` too, and the configuration of a training
may come from elsewhere. Here a name is refused before anything is imported unless its package is a known one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Annotated, Any, TypeVar

from hydra import utils as hydra_utils
from hydra.errors import InstantiationException
from pydantic import AfterValidator

from mergershift.core.checkout import root
from mergershift.core.errors import UserError, first_line
from mergershift.core.reading import shortened
from mergershift.core.yaml_files import read_yaml

T = TypeVar("T")

PACKAGES: tuple[str, ...] = ("mergershift", "torch.optim")
"""Packages whose classes every configuration may name."""
LIST = "conf/allowed_targets.yaml"
"""File with the names of further packages, those of the user."""
_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")


def allowed_packages() -> tuple[str, ...]:
    """Return the packages whose classes a `_target_` may name; raises UserError if the user's list is damaged."""
    try:
        path = root() / LIST
    except UserError:  # outside a checkout there is no list
        return PACKAGES
    if not path.exists():
        return PACKAGES
    remedy = "Write it as a list of names of packages, for instance `- my_methods`, or `[]`."
    return *PACKAGES, *(read_yaml(path, list[str] | None, remedy) or ())  # type: ignore[arg-type]


def is_allowed(name: str) -> bool:
    """Return whether a `_target_` may have this name."""
    return _NAME.fullmatch(name) is not None and (
        _within(name, PACKAGES) or _within(name, allowed_packages())
    )


def _check_target(target: dict[str, Any]) -> dict[str, Any]:
    """Return `target`; raises ValueError, before anything is imported, if one of its names is not allowed."""
    if "_target_" not in target:
        raise ValueError(
            "no _target_, expected the name of a class, for instance mergershift.adaptation.mmd.MMD"
        )
    for name in _names(target):
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(f"_target_ is {name!r}, expected the full name of a class")
        if not is_allowed(name):
            raise ValueError(
                f"_target_ {name} is refused, expected a class of {', '.join(allowed_packages())}; "
                f"{LIST} lists packages of your own"
            )
    return target


Target = Annotated[dict[str, Any], AfterValidator(_check_target)]
"""A `_target_` with its arguments, which may contain further ones."""


def _within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def _names(node: Any) -> Iterator[Any]:
    """Yield the names of all targets; raises ValueError on NaN, and on an interpolation, which could hide one."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield node["_target_"]
        for key, value in node.items():
            if isinstance(value, float) and math.isnan(value):
                raise ValueError(f"{key} is NaN, expected a number")
            if key != "_target_":
                yield from _names(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _names(value)
    elif isinstance(node, str) and "${" in node:
        raise ValueError(f"{node} is an interpolation, expected a value")


def locate(target: dict[str, Any], kind: type[T]) -> type[T]:
    """Return the class named by a `_target_`.

    Raises UserError if its package is not allowed, or if there is no such class or it is no subclass of `kind`.
    """
    try:
        names = list(_names(_check_target(target)))
    except ValueError as error:
        raise UserError(f"{error}.\nFix the name in the file in conf/ that contains it.") from error
    first, *_ = [_class(name) for name in names]
    if not issubclass(first, kind):
        raise UserError(
            f"_target_ {names[0]} is no {kind.__name__}, expected a subclass of {kind.__module__}.{kind.__name__}.\n"
            "Fix the name in the file in conf/ that contains it."
        )
    return first


def _class(name: str) -> type[Any]:
    """Return the class of this name, which an allowed module has to define, not only to import."""
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(import_module(module), attribute, None)
    except Exception as error:  # the module may be a user's, and raise anything
        reason = "" if isinstance(error, ModuleNotFoundError) else f" ({first_line(error)})"
        raise UserError(
            f"_target_: there is no class '{name}'{reason}.\nFix the name in the file in conf/ that contains it."
        ) from error
    if not isinstance(found, type) or not _within(found.__module__, allowed_packages()):
        raise UserError(
            f"_target_: there is no class '{name}'.\nFix the name in the file in conf/ that contains it."
        )
    return found


def instantiate(target: dict[str, Any], kind: type[T], **arguments: Any) -> T:
    """Create the object of class `kind` that a `_target_` and its arguments describe.

    Raises UserError if the class is not allowed or no subclass of `kind`, or if it does not accept the arguments.
    """
    name = locate(target, kind)
    try:
        created = hydra_utils.instantiate(target, **arguments)
    except InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from error
        reason = first_line(error.__cause__ or error)
        given = ", ".join(f"{key}={shortened(value)}" for key, value in target.items() if key != "_target_")
        raise UserError(
            f"{target['_target_']}({given}): {reason}.\nFix its arguments in conf/ or on the command line."
        ) from error
    if not isinstance(created, kind):  # _partial_ makes a function
        raise UserError(
            f"{target['_target_']}: its arguments make a {type(created).__name__}, expected a {name.__name__}.\n"
            "Remove _partial_ from the file in conf/ that contains it."
        )
    return created
