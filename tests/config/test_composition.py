"""Tests of the composition of conf/ into a typed configuration."""

import shutil
from pathlib import Path

import pytest

from mergershift.config import Config, compose, instantiate, locate
from mergershift.config.study import read_study
from mergershift.core.errors import UserError

CONF = Path(__file__).parents[2] / "conf"
# conf/studies/ contains whole studies and conf/launcher/ clusters, which are not part of a configuration.
GROUPS = sorted(
    path.name for path in CONF.iterdir() if path.is_dir() and path.name not in ("launcher", "studies")
)


@pytest.mark.parametrize(
    "override", [f"{group}={path.stem}" for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]
)
def test_every_option_composes(override):
    group, _, name = override.partition("=")
    assert compose([override], CONF).choices[group] == name


def test_a_written_configuration_reads_back(project, tmp_path):
    config = compose(["adaptation=mmd", "training.epochs=7"])
    config.write(tmp_path / "config.yaml")
    assert Config.read(tmp_path / "config.yaml").dump() == config.dump()
    assert Config.read(tmp_path / "config.yaml").digest() == config.digest()


def test_a_written_configuration_contains_no_password(project, tmp_path):
    config = compose(["tracking.uri='https://bob:s@cret@mlflow.example:8080/team'"])
    assert config.tracking.uri == "https://bob:s@cret@mlflow.example:8080/team", "needed to reach the server"
    config.write(tmp_path / "config.yaml")
    written = Config.read(tmp_path / "config.yaml")
    assert written.tracking.uri == config.dump()["tracking"]["uri"] == "https://mlflow.example:8080/team"
    assert written.digest() == config.digest()


def test_digest_depends_on_what_determines_the_result(project):
    base = compose()
    assert compose(["training.epochs=7"]).digest() != base.digest()
    assert compose(["seed=1"]).digest() != base.digest()
    assert compose(["tracking.experiment=other"]).digest() == base.digest()


def test_records_of_trainings_before_there_was_a_choice_keep_their_digest_and_meaning(project):
    """They trained on all rows, and ignored galaxies that share a part of the sky."""
    plain = compose(["training.training_rows=all", "split.near_duplicates=ignored"]).dump()
    assert {"training_rows", "target_galaxies"}.isdisjoint(plain["training"])
    assert "near_duplicates" not in plain["split"]
    record = Config.model_validate(plain)
    assert record.training.training_rows == "all"
    assert record.digest() != compose().digest()
    assert record.dump() == plain


def test_a_training_that_does_not_say_so_has_each_rendering_once(tmp_path):
    """A file of one's own, written before there was a choice, does not let target labels in by the back door."""
    conf = shutil.copytree(CONF, tmp_path / "conf")
    lines = (conf / "training/default.yaml").read_text().splitlines(keepends=True)
    (conf / "training/mine.yaml").write_text("".join(x for x in lines if "training_rows" not in x))
    assert compose(["training=mine"], conf).training.training_rows == "unique"
    assert compose(["training=deepmerge_2020"], conf).training.training_rows == "all"


def test_experiments_override_groups_and_can_be_overridden(project):
    config = compose(["experiment=deepmerge_2020", "training.epochs=3"])
    assert (config.filters.name, config.split.kind, config.training.epochs) == ("two", "published_leaky", 3)
    assert (config.training.patience, config.training.keep_best) == (50, "source_val_accuracy")


def test_only_the_oracle_sees_the_targets_labels(project):
    for path in (CONF / "transfer").glob("*.yaml"):
        config = compose([f"transfer={path.stem}"])
        assert (config.transfer.labelled_domain == config.transfer.target) == path.stem.startswith("oracle_")


def test_a_wrong_target_raises_a_user_error(project):
    with pytest.raises(UserError, match=r"no class 'mergershift\.nowhere\.X'"):
        locate({"_target_": "mergershift.nowhere.X"}, object)
    with pytest.raises(UserError, match="colour"):
        instantiate({"_target_": "mergershift.adaptation.weighting.Fixed", "colour": 3}, object)


def test_a_study_with_an_unknown_method_is_refused(project):
    path = project / "conf" / "study.yaml"
    path.write_text(path.read_text().replace("adaptation: mmd", "adaptation: mdm"))
    with pytest.raises(UserError, match=r"conf/adaptation/ has no 'mdm'"):
        read_study()
    path.write_text(path.read_text().replace("seeds:", "sedes:"))
    with pytest.raises(UserError, match=r"study\.yaml: seeds: missing"):
        read_study()
    path.write_text("filters: [two")
    with pytest.raises(UserError, match=r"study\.yaml: not YAML"):
        read_study()


def test_dvc_and_study_agree_on_folders(project):
    text = (project / "dvc.yaml").read_text()
    for cell in read_study().cells():
        spelt = (
            f"outputs/cells/{cell.filters}/{cell.method.transfer}/{cell.method.adaptation}/"
            f"{cell.method.experiment}/seed{cell.seed}"
        )
        assert str(cell.folder) == spelt
    assert (
        "outputs/cells/${item.filters}/${item.transfer}/${item.adaptation}/${item.experiment}/seed${item.seed}"
        in text
    )


def test_a_broken_folder_of_configurations_is_reported_in_two_lines(tmp_path):
    broken = tmp_path / "conf"
    shutil.copytree(CONF, broken)
    config = broken / "config.yaml"
    config.write_text(config.read_text().replace("adaptation:", "adaptatoin:"))
    for overrides in ([], ["training.epochs=3"]):
        with pytest.raises(UserError, match=r"cannot be composed.*adaptatoin") as error:
            compose(overrides, broken)
        assert str(error.value).count("\n") == 1


def test_settings_added_later_are_recorded_only_where_they_differ(project):
    """Otherwise records of earlier trainings would have other hashes than the same trainings now."""
    usual, published = compose([]), compose(["experiment=mmd_2021"])
    added = {"normalisation", "batches"}
    assert not added & usual.dump()["training"].keys()
    assert added <= published.dump()["training"].keys()
    assert "independent_domains" not in usual.dump()["split"]
    assert published.dump()["split"]["independent_domains"] is True
    for config in (usual, published):
        again = Config.model_validate(config.dump())
        assert again.training == config.training
        assert again.digest() == config.digest()
