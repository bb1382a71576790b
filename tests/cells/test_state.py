"""What an interrupted training leaves, and who may take it up."""

import subprocess

import pytest

from mergershift.cells.state import cell_state, clear_state
from mergershift.core.errors import UserError


def nobody(identity):
    pytest.fail(f"superseded {identity}")


def test_the_same_training_is_taken_up(project):
    with cell_state("cells/a", "config", "data", "code", nobody) as first:
        first.checkpoints.mkdir()
        (first.checkpoints / "last.ckpt").write_text("x")
    with cell_state("cells/a", "config", "data", "code", nobody) as second:
        assert second.identity == first.identity
        assert (second.checkpoints / "last.ckpt").exists()
    clear_state("cells/a")
    assert not first.folder.exists()
    clear_state("cells/a")


@pytest.mark.parametrize(
    "change", [("other", "data", "code"), ("config", "other", "code"), ("config", "data", "other")]
)
def test_other_configuration_data_or_code_begins_anew(project, change):
    with cell_state("cells/a", "config", "data", "code", nobody) as first:
        first.checkpoints.mkdir()
    told = []
    with cell_state("cells/a", *change, told.append) as second:
        assert told == [first.identity]
        assert second.identity.training != first.identity.training
        assert not second.checkpoints.exists()


def test_what_cannot_be_superseded_now_is_not_forgotten(project):
    """MLflow may be down just then; the old training has to be closed the next time."""

    def fail(identity):
        raise UserError("MLflow does not answer")

    with cell_state("cells/a", "config", "data", "code", nobody) as first:
        pass
    with pytest.raises(UserError), cell_state("cells/a", "other", "data", "code", fail):
        pass
    told = []
    with cell_state("cells/a", "other", "data", "code", told.append):
        assert told == [first.identity]


def test_two_processes_do_not_train_one_cell(project):
    with cell_state("cells/a", "config", "data", "code", nobody):
        with (
            pytest.raises(UserError, match="another process"),
            cell_state("cells/a", "config", "data", "code", nobody),
        ):
            pass
        with cell_state("cells/b", "config", "data", "code", nobody):
            pass


def test_torn_identity_begins_anew(project):
    with cell_state("cells/a", "config", "data", "code", nobody) as first:
        (first.folder / "identity.json").write_text("{")
    with cell_state("cells/a", "config", "data", "code", nobody) as second:
        assert second.identity.training != first.identity.training


def test_state_is_the_main_checkouts(project, monkeypatch):
    subprocess.run(["git", "worktree", "add", "-q", "../other"], cwd=project, check=True)
    monkeypatch.chdir(project.parent / "other")
    with cell_state("cells/a", "config", "data", "code", nobody) as state:
        assert state.folder == project / "state" / "cells" / "a"
