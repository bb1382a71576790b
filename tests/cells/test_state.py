"""The state of an interrupted training, and which training may resume from it."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from mergershift.cells import ledger
from mergershift.cells.state import Identity, cell_state, clear_state, read_progress
from mergershift.core.errors import UserError


def refuse(identity: Identity) -> None:
    pytest.fail(f"superseded {identity}")


def test_the_same_training_is_resumed(project: Path) -> None:
    with cell_state("cells/a", "config", "data", "code", refuse) as first:
        first.checkpoints.mkdir()
        (first.checkpoints / "last.ckpt").write_text("x")
    with cell_state("cells/a", "config", "data", "code", refuse) as second:
        assert second.identity == first.identity
        assert (second.checkpoints / "last.ckpt").exists()
    clear_state("cells/a", "of another training")
    assert second.checkpoints.exists()
    clear_state("cells/a", first.identity.training)
    assert not first.folder.exists()
    clear_state("cells/a", first.identity.training)


@pytest.mark.parametrize(
    "change", [("other", "data", "code"), ("config", "other", "code"), ("config", "data", "other")]
)
def test_other_configuration_data_or_code_starts_a_new_training(
    project: Path, change: tuple[str, str, str]
) -> None:
    with cell_state("cells/a", "config", "data", "code", refuse) as first:
        first.checkpoints.mkdir()
    superseded: list[Identity] = []
    config_hash, data_hash, code_hash = change
    with cell_state("cells/a", config_hash, data_hash, code_hash, superseded.append) as second:
        assert superseded == [first.identity]
        assert second.identity.training != first.identity.training
        assert not second.checkpoints.exists()


def test_a_training_that_cannot_be_superseded_is_kept(project: Path) -> None:
    """MLflow may be unreachable at the time; the run of the old training then has to be closed later."""

    def fail(identity: Identity) -> None:
        raise UserError("MLflow does not answer")

    with cell_state("cells/a", "config", "data", "code", refuse) as first:
        pass
    with pytest.raises(UserError), cell_state("cells/a", "other", "data", "code", fail):
        pass
    superseded: list[Identity] = []
    with cell_state("cells/a", "other", "data", "code", superseded.append):
        assert superseded == [first.identity]


def test_two_processes_do_not_train_the_same_cell(project: Path) -> None:
    with cell_state("cells/a", "config", "data", "code", refuse):
        with (
            pytest.raises(UserError, match="another process"),
            cell_state("cells/a", "config", "data", "code", refuse),
        ):
            pass
        with cell_state("cells/b", "config", "data", "code", refuse):
            pass


DAMAGED = (
    b'{"training": "a',
    b"",
    b"\xff",
    b"[]",
    b"5",
    b"null",
    b'{"training": 1}',
    b'{"epoch": [], "epochs": Infinity}',
)


@pytest.mark.parametrize("content", DAMAGED, ids=repr)
def test_a_damaged_identity_starts_a_new_training(project: Path, content: bytes) -> None:
    with cell_state("cells/a", "config", "data", "code", refuse) as first:
        (first.folder / "identity.json").write_bytes(content)
    with cell_state("cells/a", "config", "data", "code", refuse) as second:
        assert second.identity.training != first.identity.training


def test_an_identity_of_numbers_starts_a_new_training(project: Path) -> None:
    with cell_state("cells/a", "config", "data", "code", refuse) as first:
        numbers = dict.fromkeys(("training", "config_hash", "data_hash", "code_hash"), 1)
        (first.folder / "identity.json").write_text(json.dumps(numbers))
    with cell_state("cells/a", "config", "data", "code", refuse) as second:
        assert second.identity.config_hash == "config"


@pytest.mark.parametrize("content", DAMAGED, ids=repr)
def test_damaged_progress_is_unknown(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "progress.json").write_bytes(content)
    assert read_progress(tmp_path) is None


def test_damaged_lines_of_the_ledger_count_nothing(project: Path) -> None:
    ledger.record("cells/a", "data", {"seed": 1})
    with (project / ledger.LEDGER).open("ab") as file:
        file.write(b"\n".join(DAMAGED) + b"\n")
    ledger.record("cells/a", "data", {"seed": 1})
    assert ledger.count("data", {"seed": 1}) == 2


def test_a_worktree_of_the_pipeline_uses_the_state_of_its_checkout(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "worktree", "add", "-q", "state/worktrees/1"], cwd=project, check=True)
    monkeypatch.chdir(project / "state/worktrees/1")
    with cell_state("cells/a", "config", "data", "code", refuse) as state:
        assert state.folder == project / "state" / "cells" / "a"


def test_a_worktree_of_the_user_neither_supersedes_nor_waits_for_another(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cell_state("cells/a", "config", "data", "code", refuse) as first:
        first.checkpoints.mkdir()
        subprocess.run(["git", "worktree", "add", "-q", "../other"], cwd=project, check=True)
        monkeypatch.chdir(project.parent / "other")
        with cell_state("cells/a", "other", "data", "code", refuse) as second:
            assert second.identity.training != first.identity.training
        clear_state("cells/a", second.identity.training)
    monkeypatch.chdir(project)
    with cell_state("cells/a", "config", "data", "code", refuse) as resumed:
        assert resumed.identity == first.identity
        assert resumed.checkpoints.exists()


def test_an_experiment_of_dvc_resumes_in_another_temporary_folder_beside_all_others(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def go_to(name: str) -> Path:
        folder = project / ".dvc/tmp/exps" / name
        (folder / "conf").mkdir(parents=True)
        (folder / "dvc.yaml").touch()
        monkeypatch.chdir(folder)
        return folder

    with cell_state("cells/a", "config", "data", "code", refuse) as of_project:
        go_to("standalone/tmp1")
        with cell_state("cells/a", "other", "data", "code", refuse) as first:
            first.checkpoints.mkdir()
            go_to("tmp2")
            with cell_state("cells/a", "third", "data", "code", refuse):
                pass
    shutil.rmtree(project / ".dvc/tmp/exps/standalone")
    go_to("standalone/tmp3")
    with cell_state("cells/a", "other", "data", "code", refuse) as resumed:
        assert resumed.identity == first.identity
        assert resumed.checkpoints.exists()
    clear_state("cells/a", first.identity.training)
    assert not first.folder.exists()
    assert of_project.folder.exists()
