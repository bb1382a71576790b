"""Tests of the studies in conf/studies/ and of the one in use."""

import pytest
from cells.samples import config_of

from mergershift.config import compose
from mergershift.config.schema import sees_target_labels
from mergershift.config.study import (
    Method,
    Study,
    read_named_study,
    read_study,
    study_file,
    study_names,
    use_study,
)
from mergershift.core.errors import UserError


def studies() -> dict[str, Study]:
    return {name: read_named_study(name) for name in study_names()}


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


PLAIN = {"transfer": "pristine_to_noisy", "adaptation": "mmd", "experiment": "default"}


@pytest.mark.parametrize(
    ("changed", "oracle"),
    [
        ({}, False),
        ({"experiment": "tuned_mmd"}, False),
        ({"experiment": "oracle_tuned_mmd"}, True),
        ({"transfer": "oracle_target_only", "adaptation": "source_only"}, True),
        ({"adaptation": "source_only", "experiment": "oracle_tuned_source_only"}, True),
    ],
)
def test_a_method_is_an_oracle_by_its_training_or_by_its_tuning(
    changed: dict[str, str], oracle: bool
) -> None:
    names = PLAIN | changed
    assert Method.model_validate(names).is_oracle == oracle
    assert config_of(choices=config_of().choices | names).is_oracle == oracle


def test_only_the_honest_source_only_is_what_others_are_compared_with() -> None:
    baseline = PLAIN | {"adaptation": "source_only"}
    assert Method.model_validate(baseline).is_baseline
    for changed in (
        {"transfer": "oracle_target_only"},
        {"experiment": "oracle_tuned_source_only"},
        {"experiment": "tuned_source_only"},
        {"adaptation": "mmd"},
    ):
        assert not Method.model_validate(baseline | changed).is_baseline


def test_any_of_several_names_tells() -> None:
    assert sees_target_labels("source_balanced_accuracy", "oracle_target_balanced_accuracy")
    assert sees_target_labels("oracle_mergershift")
    assert not sees_target_labels("source_balanced_accuracy", "not_oracle_either")
