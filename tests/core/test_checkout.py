"""Which checkout owns what, seen from git worktrees and from copies that the pipeline and DVC make."""

import subprocess
from pathlib import Path

import pytest
from checkouts import commit
from studies import dvc

from mergershift.core.checkout import is_temporary, main_checkout, root, workspace
from mergershift.core.errors import UserError


def add_worktree(project: Path, place: str) -> Path:
    subprocess.run(["git", "worktree", "add", "-q", "--detach", place], cwd=project, check=True)
    return (project / place).resolve()


def test_a_worktree_of_the_user_is_a_workspace_and_shares_the_main_checkout(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = add_worktree(project, "../other")
    inner = add_worktree(other, "state/worktrees/1")
    for here in (other, inner, inner / "conf"):
        monkeypatch.chdir(here)
        assert (workspace(), main_checkout()) == (other, project)
        assert not is_temporary()
    assert root() == inner


def test_a_worktree_of_the_pipeline_belongs_to_its_checkout(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(add_worktree(project, "state/worktrees/1"))
    assert (workspace(), main_checkout()) == (project, project)


def test_a_worktree_that_a_user_keeps_in_a_folder_of_the_same_names_is_his_own(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = add_worktree(project, "../state/worktrees/lr")
    monkeypatch.chdir(other)
    assert (workspace(), main_checkout()) == (other, project)


def test_a_worktree_whose_main_checkout_was_moved_names_the_command_that_repairs_it(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = add_worktree(project, "../other")
    project.rename(project.with_name("moved"))
    monkeypatch.chdir(other)
    with pytest.raises(UserError, match="git worktree repair") as error:
        main_checkout()
    assert str(error.value).count("\n") == 1
    subprocess.run(["git", "worktree", "repair", other], cwd=project.with_name("moved"), check=True)
    assert main_checkout() == project.with_name("moved")


@pytest.mark.system
def test_a_temporary_experiment_of_dvc_belongs_to_its_checkout(project: Path) -> None:
    """DVC runs it in a git repository of its own, which it deletes afterwards."""
    code = (
        "from mergershift.core.checkout import *; from pathlib import Path; "
        "Path('out.txt').write_text(f'{root() == Path.cwd()} {is_temporary()} {workspace()} {main_checkout()}')"
    )
    (project / "dvc.yaml").write_text(f'stages:\n  s:\n    cmd: python -c "{code}"\n    outs: [out.txt]\n')
    commit(project)
    dvc(project, "exp", "run", "--temp", "--name", "trial")
    dvc(project, "exp", "apply", "trial")
    assert (project / "out.txt").read_text() == f"True True {project} {project}"
