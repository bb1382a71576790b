"""Tests of the studies in conf/studies/ and of the one in use."""

import pytest

from mergershift.config import compose
from mergershift.config.study import read_study, studies, study_file, use_study
from mergershift.core.errors import UserError


def test_the_committed_study_is_the_demo(project):
    assert study_file().read_text() == (project / "conf/studies/demo.yaml").read_text()


def test_every_cell_of_every_study_composes(project):
    assert set(studies()) == {"demo", "study", "full", "deepmerge_2"}
    for study in studies().values():
        # A method composes with one filter set as with another.
        each_once = {each.method: each for each in study.cells()} | {
            each.filters: each for each in study.cells()
        }
        for cell in set(each_once.values()):
            compose(
                [
                    f"filters={cell.filters}",
                    f"transfer={cell.method.transfer}",
                    f"adaptation={cell.method.adaptation}",
                    *(
                        f"{group}={getattr(study, group)}"
                        for group in ("network", "training", "trainer", "split")
                    ),
                    f"selection={study.selection}",
                ]
            )


def test_every_transfer_of_a_study_has_its_baseline(project):
    for study in studies().values():
        compared = {method.transfer for method in study.methods if method.adaptation != "source_only"}
        baselines = {method.transfer for method in study.methods if method.adaptation == "source_only"}
        assert compared <= baselines


def test_the_full_study_contains_every_method(project):
    listed = {method.adaptation for method in studies()["full"].methods}
    assert listed == {path.stem for path in (project / "conf/adaptation").glob("*.yaml")}


def test_use_changes_the_cells_and_keeps_a_study_of_ones_own(project):
    assert "18 cells" in use_study("study")
    assert read_study() == studies()["study"]
    assert not study_file().with_name("study.yaml.bak").exists()
    own = study_file().read_text().replace("  - 2\n", "")
    study_file().write_text(own)
    assert "study.yaml.bak" in use_study("demo")
    assert study_file().with_name("study.yaml.bak").read_text() == own
    assert read_study() == studies()["demo"]


def test_a_misspelt_study_is_reported_with_the_nearest_names(project):
    with pytest.raises(UserError, match=r"no 'stduy'.*\n.*study"):
        use_study("stduy")
