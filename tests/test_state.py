"""What an interrupted training leaves, and who may take it up."""

import subprocess

import pytest

from mergershift.errors import UserError
from mergershift.state import cell_state


def test_the_same_training_is_taken_up(project):
    with cell_state("cells/a", "config", "data") as first:
        first.checkpoints.mkdir()
        (first.checkpoints / "last.ckpt").write_text("x")
    with cell_state("cells/a", "config", "data") as second:
        assert second.identity == first.identity
        assert second.superseded is None
        assert (second.checkpoints / "last.ckpt").exists()
        second.clear()
    assert not first.folder.exists()


@pytest.mark.parametrize("change", [("other", "data"), ("config", "other")])
def test_other_configuration_or_data_begins_anew(project, change):
    with cell_state("cells/a", "config", "data") as first:
        first.checkpoints.mkdir()
    with cell_state("cells/a", *change) as second:
        assert second.superseded == first.identity
        assert second.identity.training != first.identity.training
        assert not second.checkpoints.exists()


def test_two_processes_do_not_train_one_cell(project):
    with cell_state("cells/a", "config", "data"):
        with pytest.raises(UserError, match="another process"), cell_state("cells/a", "config", "data"):
            pass
        with cell_state("cells/b", "config", "data"):
            pass


def test_torn_identity_begins_anew(project):
    with cell_state("cells/a", "config", "data") as first:
        (first.folder / "identity.json").write_text("{")
    with cell_state("cells/a", "config", "data") as second:
        assert second.superseded is None


def test_state_is_the_main_checkouts(project, monkeypatch):
    subprocess.run(["git", "worktree", "add", "-q", "../other"], cwd=project, check=True)
    monkeypatch.chdir(project.parent / "other")
    with cell_state("cells/a", "config", "data") as state:
        assert state.folder == project / "state" / "cells" / "a"
