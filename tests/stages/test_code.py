"""The list of a method's source files changes exactly when one of the files changes."""

import json
import sys

import pytest

from mergershift.stages.code import write_code


@pytest.fixture
def lists(project):
    def read():
        write_code()
        folder = project / "outputs/code"
        return {
            path.relative_to(folder).as_posix(): json.loads(path.read_text())
            for path in folder.rglob("*.json")
        }

    return read


def changed(before, after):
    return {name for name in after if before.get(name) != after[name]}


def test_the_list_contains_all_source_files_of_a_method(lists):
    found = lists()
    assert set(found["adaptation/mmd.json"]) == {
        "mergershift.adaptation.base",
        "mergershift.adaptation.mmd",
        "mergershift.adaptation.weighting",
    }
    assert set(found["adaptation/mmd_fisher_entropy.json"]) > {
        "mergershift.adaptation.combined",
        "mergershift.adaptation.mmd",
        "mergershift.adaptation.fisher",
    }
    assert "mergershift.networks.base" in found["network/resnet18.json"]


def test_an_edit_changes_only_the_lists_that_contain_the_file(project, lists):
    before = lists()
    path = project / "src/mergershift/adaptation/mmd.py"
    path.write_text(path.read_text() + "# edited\n")
    edited = changed(before, lists())
    assert {"adaptation/mmd.json", "adaptation/mmd_fisher_entropy.json"} <= edited
    assert not edited & {"adaptation/source_only.json", "adaptation/coral.json", "network/deepmerge.json"}


def test_a_new_method_changes_no_other_list(project, lists):
    before = lists()
    (project / "src/mergershift/adaptation/new.py").write_text("import math\n")
    (project / "conf/adaptation/new.yaml").write_text("penalty: {_target_: mergershift.adaptation.new.New}\n")
    assert changed(before, lists()) == {"adaptation/new.json"}


def test_the_list_of_a_variant_includes_its_parents_files(project, lists):
    (project / "conf/adaptation/wide.yaml").write_text("defaults: [mmd, _self_]\npenalty: {sigmas: [1.0]}\n")
    before = lists()
    assert "mergershift.adaptation.mmd" in before["adaptation/wide.json"]
    parent = project / "conf/adaptation/mmd.yaml"
    parent.write_text(parent.read_text() + "# edited\n")
    assert changed(before, lists()) == {"adaptation/wide.json"}


def test_a_broken_method_is_listed_and_not_reported(project, lists):
    (project / "conf/adaptation/broken.yaml").write_text("penalty: [\n")
    (project / "conf/adaptation/nowhere.yaml").write_text(
        "penalty: {_target_: mergershift.adaptation.nowhere.X}\n"
    )
    (project / "conf/adaptation/binary.yaml").write_bytes(b"\xff")
    (project / "conf/adaptation/number.yaml").write_text("5\n")
    for name, other in (("one", "other"), ("other", "one")):
        (project / f"conf/adaptation/{name}.yaml").write_text(f"defaults: [{other}]\n")
    found = lists()
    for name in ("broken", "binary", "number"):
        assert found[f"adaptation/{name}.json"].keys() == {"damaged"}
    assert found["adaptation/one.json"].keys() == {"conf/adaptation/other.yaml"}
    assert found["adaptation/nowhere.json"] == {"mergershift.adaptation.nowhere": "missing"}


def test_a_method_of_ones_own_is_listed_only_if_its_package_is_allowed(project, lists, monkeypatch):
    package = project.parent / "elsewhere/own_code"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "penalty.py").write_text("")
    monkeypatch.syspath_prepend(package.parent)
    (project / "conf/adaptation/own.yaml").write_text("penalty: {_target_: own_code.penalty.Own}\n")
    assert lists()["adaptation/own.json"] == {}
    assert "own_code" not in sys.modules
    (project / "conf/allowed_targets.yaml").write_text("- own_code\n")
    assert lists()["adaptation/own.json"].keys() == {"own_code.penalty"}
    sys.modules.pop("own_code", None)
