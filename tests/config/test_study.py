"""Tests of the studies in conf/studies/ and of the one in use."""

import pytest
from cells.samples import config_of

from mergershift.cli.main import main
from mergershift.config import compose
from mergershift.config.machine import AUTO, trainer_of_this_machine
from mergershift.config.schema import sees_target_labels
from mergershift.config.study import (
    Method,
    Study,
    read_named_study,
    read_study,
    study_file,
    study_names,
)
from mergershift.config.study_choice import study_in_use, use_study
from mergershift.core.errors import UserError


def studies() -> dict[str, Study]:
    """The named studies as this machine runs them."""
    named = {name: read_named_study(name) for name in study_names()}
    trainer = {"trainer": trainer_of_this_machine()}
    return {
        name: study.model_copy(update=trainer if study.trainer == AUTO else {})
        for name, study in named.items()
    }


def test_the_committed_study_is_the_demo(project):
    assert study_in_use() == "demo"


def test_every_cell_of_every_study_composes(project):
    assert set(studies()) == {"demo", "study", "full", "deepmerge_2", "deepmerge_2_published"}
    methods = set()
    for study in studies().values():
        # A method composes with one filter set and network as with others.
        some = {cell.method: cell for cell in study.cells() if cell.method not in methods}
        for cell in {*some.values(), *{cell.filters: cell for cell in study.cells()}.values()}:
            methods.add(cell.method)
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
                    f"experiment={cell.method.experiment}",
                ]
            )


def test_the_published_study_trains_every_method_as_its_script_does(project):
    """Stages name the training on the command line, which overrules the file that an experiment chooses."""
    study = read_named_study("deepmerge_2_published")
    found = {}
    for cell in study.cells():
        method = cell.method
        overrides = [
            f"{group}={getattr(study, group)}" for group in ("network", "training", "split", "selection")
        ]
        config = compose(
            [
                *overrides,
                f"adaptation={method.adaptation}",
                f"experiment={method.experiment}",
                "filters=three",
            ]
        )
        training, optimizer = config.training, config.training.optimizer
        found[method.title] = (training.cycle_length, optimizer["weight_decay"], optimizer["amsgrad"])
        assert (training.schedule, training.stop_on, training.batches, training.normalisation) == (
            "triangular_2021",
            "random_batches_2021",
            "drawn_anew",
            "each_domain",
        )
        assert training.training_rows == training.validation_rows == "all"
        assert config.adaptation.weighting["_target_"].endswith("Fixed") or method.is_baseline
        assert config.split.independent_domains
        assert config.selection is not None
        assert (config.selection.all_rows, config.selection.threshold, config.selection.validator) == (
            True,
            "half",
            "kept",
        )
        assert config.selection.best_by != "source_validation_risk", "it ranks source-only first"
        standalone = (
            compose([f"experiment={method.experiment}"]) if method.experiment != "default" else config
        )
        assert standalone.training == training, "the experiment alone is the same training"
    assert found == {
        "source_only": (5, 1e-3, False),
        "mmd_2021": (5, 1e-3, True),
        "mmd_fisher_2021": (5, 1e-3, True),
        "dann_2021": (8, 1e-4, False),
        "dann_fisher_2021": (8, 1e-4, False),
    }


def test_every_transfer_of_a_study_has_its_baseline(project):
    for study in studies().values():
        compared = {method.transfer for method in study.methods if method.adaptation != "source_only"}
        baselines = {method.transfer for method in study.methods if method.adaptation == "source_only"}
        assert compared <= baselines


def test_the_full_study_contains_every_method_but_those_of_the_published_training(project):
    full, published = (
        {method.adaptation for method in studies()[name].methods}
        for name in ("full", "deepmerge_2_published")
    )
    released = {name for name in published if name.endswith("_2021")}
    assert not full & released
    assert full | released == {path.stem for path in (project / "conf/adaptation").glob("*.yaml")}


def test_use_changes_the_cells_and_keeps_a_study_of_ones_own(project):
    assert "30 cells" in use_study("study")
    assert read_study() == studies()["study"]
    assert not study_file().with_name("study.yaml.bak").exists()
    own = study_file().read_text().replace("  - 2\n", "")
    study_file().write_text(own)
    assert "study.yaml.bak" in use_study("demo")
    assert study_file().with_name("study.yaml.bak").read_text() == own
    assert read_study() == studies()["demo"]


def test_every_study_of_ones_own_is_kept(project):
    own = study_file().read_text()
    texts = [own + f"# {number}\n" for number in range(3)]
    for text in (*texts, texts[0]):
        study_file().write_text(text)
        use_study("demo")
    names = ("study.yaml.bak", "study.yaml.bak2", "study.yaml.bak3")
    assert [study_file().with_name(name).read_text() for name in names] == texts
    assert not study_file().with_name("study.yaml.bak4").exists()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("seeds:\n", "seeds:\n  - 0\n", "seeds: 0 is listed twice"),
        ("seeds:\n", "seeds:\n  - -1\n", "entry 1 of seeds: found -1"),
        ("filters:\n", "filters:\n  - three\n", "filters: three is listed twice"),
        ("methods:\n", "methods:\n  - {transfer: pristine_to_noisy, adaptation: mmd, experiment: default}\n",
         "methods: mmd"),
        (
            "methods:\n",
            "methods:\n"
            "  - {transfer: pristine_to_noisy, adaptation: mmd, experiment: deepmerge_2020}\n"
            "  - {transfer: pristine_to_noisy, adaptation: coral, experiment: deepmerge_2020}\n",
            "methods: deepmerge_2020 is listed twice",
        ),
        (
            "tune: []\n",
            "tune:\n"
            "  - {adaptation: mmd, filters: three, transfer: pristine_to_noisy, trials: 6}\n"
            "  - {adaptation: mmd, filters: two, transfer: pristine_to_noisy, trials: 6}\n",
            "tune: mmd is listed twice",
        ),
    ],
)  # fmt: skip
def test_what_would_be_trained_twice_is_refused(project, old, new, expected):
    text = study_file().read_text()
    assert old in text
    study_file().write_text(text.replace(old, new))
    with pytest.raises(UserError, match=f"study.yaml: {expected}"):
        read_study()


def test_a_list_of_studies_shows_what_is_wrong_with_one(project, capsys):
    (project / "conf/studies/own.yaml").write_text("filters: [two\n")
    (project / "conf/adaptation/sidda.yaml").write_bytes(b"\xff")
    with pytest.raises(SystemExit) as ended:
        main(["study", "list"])
    assert ended.value.code == 0
    lines = {line[2:].split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert lines["demo"].startswith("* demo")
    assert "6 cells" in lines["demo"]
    assert "cannot be used: " in lines["own"]
    assert "own.yaml: not YAML" in lines["own"]
    assert "sidda.yaml: byte 0 is 0xff" in lines["full"]


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


def test_a_method_whose_target_shows_the_galaxies_of_the_source_is_a_control() -> None:
    assert Method.model_validate(PLAIN | {"experiment": "same_galaxies_mmd"}).is_control
    assert compose(["adaptation=mmd", "experiment=same_galaxies_mmd"]).training.target_galaxies == "source"
    assert not Method.model_validate(PLAIN).is_control
    assert compose(["adaptation=mmd"]).training.target_galaxies == "own"


def test_studies_let_the_domains_train_on_different_galaxies() -> None:
    for name in ("demo", "study", "full"):
        split = compose([f"split={read_named_study(name).split}"]).split
        assert split.disjoint_domains
        assert split.near_duplicates == "together"


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
