"""A `_target_` names a class of a known package, or nothing is imported and called."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from mergershift.adaptation import Adaptation, Weighting
from mergershift.config import compose
from mergershift.config.targets import Target, instantiate, locate
from mergershift.core.errors import UserError
from mergershift.networks import Network

FIXED = {"_target_": "mergershift.adaptation.weighting.Fixed", "trade_off": 1.0}
LEFT = "side_effect"


@pytest.fixture
def own_package(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The checkout of a user who keeps a method in a package outside, which leaves a mark where it is imported."""
    folder = project.parent / "elsewhere/own_methods"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "penalty.py").write_text(
        f"import pathlib\npathlib.Path({str(project / LEFT)!r}).touch()\n"
        "from mergershift.adaptation.mmd import MMD\nfrom subprocess import Popen\nclass Own(MMD): pass\n"
    )
    monkeypatch.syspath_prepend(folder.parent)
    yield project
    for name in [name for name in sys.modules if name.split(".")[0] == "own_methods"]:
        del sys.modules[name]


CALL = {"_target_": "os.system", "command": f"touch {LEFT}"}


@pytest.mark.parametrize(
    "target",
    [
        CALL,
        {"_target_": "subprocess.Popen", "args": ["touch", LEFT]},
        {"_target_": "builtins.eval", "_args_": [f"open('{LEFT}', 'w')"]},
        FIXED | {"trade_off": CALL},
        FIXED | {"_args_": [CALL]},
        FIXED | {"trade_off": [{"deep": CALL}]},
        FIXED | {"_recursive_": False, "trade_off": CALL},
        CALL | {"_partial_": True},
        {"_target_": "mergershift.core.checkout.subprocess.Popen", "args": ["touch", LEFT]},
        {"_target_": "mergershift.core.files.write_text", "path": LEFT, "text": ""},
        {"_target_": "mergershift.core.files.FileLock", "lock_file": LEFT},
        {"_target_": "mergershiftx.Own"},
        {"_target_": "torch.load", "f": LEFT},
        {"_target_": "${oc.env:HOME}"},
        FIXED | {"trade_off": "${oc.create:{_target_: os.system, command: touch side_effect}}"},
        {"_target_": 5},
        {"_target_": "mergershift"},
        {"_target_": "mergershift..x"},
        {"trade_off": 1.0},
    ],
    ids=str,
)
def test_what_no_configuration_may_name_is_never_called(project: Path, target: dict[str, Any]) -> None:
    with pytest.raises(UserError) as raised:
        instantiate(target, object)
    assert str(raised.value).count("\n") == 1
    assert not (project / LEFT).exists()


def test_a_package_of_ones_own_is_imported_only_if_it_is_listed(own_package: Path) -> None:
    name = "own_methods.penalty.Own"
    override = f"adaptation.penalty._target_={name}"
    with pytest.raises(UserError, match=f"{name} is refused") as raised:
        compose(["adaptation=mmd", override])
    assert "conf/allowed_targets.yaml" in str(raised.value)
    assert not (own_package / LEFT).exists()
    (own_package / "conf/allowed_targets.yaml").write_text("- own_methods\n")
    target = compose(["adaptation=mmd", override]).adaptation.penalty
    assert type(instantiate(target, Adaptation)).__name__ == "Own"
    assert (own_package / LEFT).exists()
    with pytest.raises(UserError, match="no class"):  # which the module imports, but does not define
        locate({"_target_": "own_methods.penalty.Popen"}, object)


@pytest.mark.parametrize("content", ["5\n", "- 5\n", "own_methods\n", "{a: b}\n"])
def test_a_damaged_list_of_packages_allows_nothing(own_package: Path, content: str) -> None:
    (own_package / "conf/allowed_targets.yaml").write_text(content)
    with pytest.raises(UserError, match=r"allowed_targets\.yaml: "):
        instantiate({"_target_": "own_methods.penalty.Own"}, object)
    assert not (own_package / LEFT).exists()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("mergershift.adaptation.weighting.Fixed", Adaptation),
        ("mergershift.adaptation.mmd.MMD", Weighting),
        ("torch.optim.SGD", Network),
        ("mergershift.networks.resnet18.ResNet18", torch.optim.Optimizer),
    ],
)
def test_a_class_of_another_kind_is_refused(project: Path, name: str, kind: type[Any]) -> None:
    with pytest.raises(UserError, match=f"{name} is no {kind.__name__}"):
        instantiate({"_target_": name}, kind)


def test_a_function_that_makes_a_part_is_no_part(project: Path) -> None:
    with pytest.raises(UserError, match=r"expected a Fixed\.\nRemove _partial_"):
        instantiate(FIXED | {"_partial_": True}, Weighting)


def test_schedules_of_torch_are_allowed() -> None:
    TypeAdapter(Target).validate_python({"_target_": "torch.optim.lr_scheduler.StepLR"})
    with pytest.raises(ValidationError):
        TypeAdapter(Target).validate_python({"_target_": "torch.optimal.StepLR"})
