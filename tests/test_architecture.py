"""Import directions: data walk down one corridor and nobody walks back."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "mergershift"
ROOMS = ("archive", "images", "networks", "adaptation", "evaluation")
ONLY_IN = {"pytorch_lightning": "training", "mlflow": "tracking", "optuna": "tuning"}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names if node.module == "mergershift"}
    return found


@pytest.mark.parametrize(("library", "room"), ONLY_IN.items())
def test_a_framework_is_imported_in_one_room_only(library, room):
    users = {
        path.relative_to(PACKAGE).parts[0]
        for path in PACKAGE.rglob("*.py")
        if any(name.split(".")[0] == library for name in imports(path))
    }
    assert users <= {room}


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_use_each_other_by_their_doors(room):
    """`mergershift.images` may be imported by another room, `mergershift.images.batches` may not."""
    for path in (PACKAGE / room).rglob("*.py"):
        for name in imports(path):
            parts = name.split(".")
            if parts[0] == "mergershift" and len(parts) > 2 and parts[1] != room:
                assert parts[1] not in ROOMS or parts[2] == "mock", f"{path} reaches into {name}"


@pytest.mark.parametrize("room", ROOMS)
def test_nobody_walks_back(room):
    order = {"archive": 0, "images": 1, "networks": 1, "adaptation": 2, "evaluation": 2}
    later = {"training", "tracking", "tuning", "report", "steps", "summary", "pipeline"}
    later |= {other for other in ROOMS if order[other] > order[room]}
    for path in (PACKAGE / room).rglob("*.py"):
        used = {name.split(".")[1] for name in imports(path) if name.startswith("mergershift.")}
        assert not used & later, f"{path} imports {used & later}"


def test_modules_stay_small():
    long = {str(path): n for path in PACKAGE.rglob("*.py") if (n := len(path.read_text().splitlines())) > 300}
    assert not long
