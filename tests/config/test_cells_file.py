"""The names of the stages, and the file that dvc.yaml has them from."""

from pathlib import Path

import pytest
import yaml

from mergershift.cli.main import cli
from mergershift.config.cells_file import CELLS_FILE, cells_text, update_cells
from mergershift.config.study import (
    Cell,
    Method,
    read_named_study,
    read_study,
    study_names,
)
from mergershift.config.study_choice import set_filters, use_study
from mergershift.core.errors import UserError
from mergershift.stages.code import require_cells

NAMES = {
    ("pristine_to_noisy", "mmd", "default"): "mmd",
    ("pristine_to_noisy", "mmd", "tuned_mmd"): "tuned_mmd",
    ("noisy_to_pristine", "mmd", "default"): "mmd-noisy_to_pristine",
    ("oracle_target_only", "source_only", "default"): "oracle",
    ("oracle_target_only_reverse", "source_only", "default"): "oracle_target_only_reverse",
    ("pristine_to_noisy", "mmd", "oracle_tuned_mmd"): "oracle_tuned_mmd",
}


def method(names: tuple[str, str, str]) -> Method:
    return Method(transfer=names[0], adaptation=names[1], experiment=names[2])


@pytest.mark.parametrize("names", NAMES)
def test_a_stage_is_named_after_what_its_cell_is(names: tuple[str, str, str]) -> None:
    cell = Cell("two", method(names), 3)
    assert cell.name == f"two-{NAMES[names]}-s3"
    assert Cell.at(cell.folder.relative_to("outputs").as_posix()) == cell


@pytest.mark.parametrize(
    "folder", ["runs/two-mmd", "cells/x", "cells/two/a/b/c/seed1/train", "cells/a/b/c/d/seedx"]
)
def test_other_folders_are_no_cells(folder: str) -> None:
    assert Cell.at(folder) is None


def test_the_committed_cells_are_those_of_the_committed_study(project: Path) -> None:
    assert (project / CELLS_FILE).read_text() == cells_text(read_study())
    assert update_cells(read_study()) is None


def test_every_study_lists_each_cell_once_with_what_its_stages_need(project: Path) -> None:
    for name in study_names():
        study = read_named_study(name)
        listed = yaml.safe_load(cells_text(study))
        assert len(listed["cells"]) == len(study.cells())
        for cell in study.cells():
            entry = listed["cells"][cell.name]
            assert entry == {"filters": cell.filters, **cell.method.model_dump(), "seed": cell.seed}


def test_a_search_is_named_after_its_method(project: Path) -> None:
    path = project / "conf/study.yaml"
    search = {"adaptation": "mmd", "filters": "three", "transfer": "pristine_to_noisy", "trials": 6}
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"tune": [search]}))
    assert yaml.safe_load(cells_text(read_study()))["searches"] == {"mmd": search}


def test_the_cells_follow_every_command_that_changes_the_study(project: Path) -> None:
    use_study("study")
    assert (project / CELLS_FILE).read_text() == cells_text(read_study())
    set_filters(["two"])
    assert "two-sidda-s2" in yaml.safe_load((project / CELLS_FILE).read_text())["cells"]
    (project / CELLS_FILE).unlink()
    set_filters(["two"])
    assert (project / CELLS_FILE).read_text() == cells_text(read_study())


def test_a_command_brings_the_cells_up_to_date(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = project / "conf/study.yaml"
    path.write_text(path.read_text().replace("seeds:\n", "seeds:\n  - 7\n"))
    for words in ("now lists its 12 cells", "lists the cells of conf/study.yaml already"):
        cli.main(["study", "cells"], standalone_mode=False)
        assert words in capsys.readouterr().out
    assert (project / CELLS_FILE).read_text() == cells_text(read_study())


def test_the_pipeline_does_not_run_the_cells_of_another_study(project: Path) -> None:
    path = project / "conf/study.yaml"
    path.write_text(path.read_text().replace("seeds:\n", "seeds:\n  - 7\n"))
    with pytest.raises(UserError, match=r"now lists its 12 cells\.\nRun the same command again") as raised:
        require_cells()
    assert str(raised.value).count("\n") == 1
    require_cells()
    assert "three-mmd-s7" in yaml.safe_load((project / CELLS_FILE).read_text())["cells"]


def test_names_that_yaml_takes_for_something_else_stay_names(project: Path) -> None:
    study = read_study().model_copy(update={"methods": (method(("pristine_to_noisy", "null", "default")),)})
    assert yaml.safe_load(cells_text(study))["cells"]["two-null-s0"]["adaptation"] == "null"
