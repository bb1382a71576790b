"""Import directions: data enter at the bottom and leave at the top, and no package imports one above or beside it."""

import ast
import shutil
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "mergershift"
LAYERS = {
    "core": 1,
    "archive": 2,
    "evaluation": 2,
    "networks": 2,
    "adaptation": 3,
    "config": 3,
    "cells": 4,
    "images": 4,
    "launching": 4,
    "classifier": 5,
    "tracking": 5,
    "registry": 6,
    "report": 6,
    "training": 6,
    "predicting": 7,
    "stages": 7,
    "tuning": 7,
    "pipeline": 8,
    "cli": 9,
}
"""Package -> floor; a package imports lower floors only."""
ONLY_IN = {
    "click": "cli",
    "dvc": "pipeline",
    "dvc_data": "pipeline",
    "hydra": "config",
    "mlflow": "tracking",
    "optuna": "tuning",
    "pytorch_lightning": "training",
    "submitit": "launching",
}
"""Library -> the package, or module, that may import it."""
WITHOUT_TORCH = ("core", "archive", "evaluation", "config", "cells")
DOORS = ("archive", "networks", "evaluation", "adaptation", "images")
"""Packages that use each other by what their `__init__` exports."""


def imports(path: Path) -> set[str]:
    """Names of all modules that a file imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names if node.module == "mergershift"}
    return found


def upward_imports(package: Path) -> set[tuple[str, str]]:
    """File and imported package wherever that is not on a lower floor."""
    found = set()
    for path in package.rglob("*.py"):
        inside = path.relative_to(package)
        if len(inside.parts) == 1:
            continue
        own = inside.parts[0]
        for name in imports(path):
            parts = name.split(".")
            foreign = parts[0] == "mergershift" and len(parts) > 1 and parts[1] not in (own, "__version__")
            if foreign and LAYERS[parts[1]] >= LAYERS[own]:
                found.add((str(inside), parts[1]))
    return found


def test_every_package_has_a_layer_and_the_root_holds_packages_alone() -> None:
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert packages == set(LAYERS)
    assert {path.name for path in PACKAGE.glob("*.py")} == {"__init__.py", "__main__.py"}


def test_no_import_runs_upwards() -> None:
    assert not upward_imports(PACKAGE)


@pytest.mark.parametrize(
    ("file", "line", "package"),
    [
        ("images/store.py", "from mergershift.stages.train import train_step", "stages"),
        ("core/files.py", "from mergershift import archive", "archive"),
        ("evaluation/metrics.py", "import mergershift.networks.base", "networks"),
        ("tracking/runs.py", "def late():\n    from mergershift.classifier import inference", "classifier"),
    ],
)
def test_an_import_that_runs_upwards_or_sideways_is_noticed(
    tmp_path: Path, file: str, line: str, package: str
) -> None:
    copy = tmp_path / "mergershift"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    with (copy / file).open("a") as source:
        source.write(f"\n\n{line}\n")
    assert upward_imports(copy) == {(file, package)}


@pytest.mark.parametrize(("library", "place"), ONLY_IN.items())
def test_a_framework_is_imported_in_one_place_only(library: str, place: str) -> None:
    users = {
        path.relative_to(PACKAGE)
        for path in PACKAGE.rglob("*.py")
        if any(name.split(".")[0] == library for name in imports(path))
    }
    assert users
    assert all(place in (path.parts[0], path.as_posix()) for path in users), users


@pytest.mark.parametrize("package", WITHOUT_TORCH)
def test_numbers_and_files_need_no_torch(package: str) -> None:
    for path in (PACKAGE / package).rglob("*.py"):
        assert not any(name.split(".")[0] in ("torch", "pytorch_lightning") for name in imports(path)), path


@pytest.mark.parametrize("package", DOORS)
def test_lower_packages_use_each_other_by_their_doors(package: str) -> None:
    """`mergershift.images` may be imported by another package, `mergershift.images.batches` may not."""
    for path in (PACKAGE / package).rglob("*.py"):
        for name in imports(path):
            parts = name.split(".")
            if parts[0] == "mergershift" and len(parts) > 2 and parts[1] != package:
                assert parts[1] not in DOORS, f"{path} reaches into {name}"


def test_modules_stay_small() -> None:
    long = {str(path): n for path in PACKAGE.rglob("*.py") if (n := len(path.read_text().splitlines())) > 300}
    assert not long
