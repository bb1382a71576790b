"""The list of a method's files changes exactly when one of them does."""

import json

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


def test_what_a_method_is_made_of(lists):
    made_of = lists()
    assert set(made_of["adaptation/mmd.json"]) == {
        "mergershift.adaptation.base",
        "mergershift.adaptation.mmd",
        "mergershift.adaptation.weighting",
    }
    assert set(made_of["adaptation/mmd_fisher_entropy.json"]) > {
        "mergershift.adaptation.combined",
        "mergershift.adaptation.mmd",
        "mergershift.adaptation.fisher",
    }
    assert "mergershift.networks.base" in made_of["network/resnet18.json"]


def test_an_edit_touches_only_what_uses_the_file(project, lists):
    before = lists()
    path = project / "src/mergershift/adaptation/mmd.py"
    path.write_text(path.read_text() + "# edited\n")
    touched = changed(before, lists())
    assert {"adaptation/mmd.json", "adaptation/mmd_fisher_entropy.json"} <= touched
    assert not touched & {"adaptation/source_only.json", "adaptation/coral.json", "network/deepmerge.json"}


def test_a_new_method_touches_no_other(project, lists):
    before = lists()
    (project / "src/mergershift/adaptation/new.py").write_text("import math\n")
    (project / "conf/adaptation/new.yaml").write_text("penalty: {_target_: mergershift.adaptation.new.New}\n")
    assert changed(before, lists()) == {"adaptation/new.json"}


def test_a_variant_follows_the_method_it_is_derived_from(project, lists):
    (project / "conf/adaptation/wide.yaml").write_text("defaults: [mmd, _self_]\npenalty: {sigmas: [1.0]}\n")
    before = lists()
    assert "mergershift.adaptation.mmd" in before["adaptation/wide.json"]
    parent = project / "conf/adaptation/mmd.yaml"
    parent.write_text(parent.read_text() + "# edited\n")
    assert changed(before, lists()) == {"adaptation/wide.json"}


def test_a_broken_method_is_left_to_the_training_that_needs_it(project, lists):
    (project / "conf/adaptation/broken.yaml").write_text("penalty: [\n")
    (project / "conf/adaptation/nowhere.yaml").write_text(
        "penalty: {_target_: mergershift.adaptation.nowhere.X}\n"
    )
    made_of = lists()
    assert "not YAML" in made_of["adaptation/broken.json"]
    assert made_of["adaptation/nowhere.json"] == {"mergershift.adaptation.nowhere": "missing"}
