"""Tests of whether a worktree still has the code of its checkout."""

import shutil

import pytest

from mergershift.pipeline import worktrees

MODULE, DATA, IGNORED = "src/package/module.py", "src/package/table.csv", "src/package.egg-info/PKG-INFO"


@pytest.fixture
def copied(tmp_path):
    """Return a checkout with an installed package, and its worktree."""
    here, tree = tmp_path / "here", tmp_path / "tree"
    for name in (MODULE, DATA):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text("1\n")
    shutil.copytree(here, tree)
    (here / IGNORED).parent.mkdir()
    (here / IGNORED).write_text("")
    return here, tree


def test_files_beside_the_code_and_compiled_modules_do_not_count(copied):
    here, tree = copied
    for folder in copied:
        (folder / "src/package/__pycache__").mkdir()
    (tree / "src/package/__pycache__/module.cpython-311.pyc").write_bytes(b"1")
    assert worktrees.same_sources(here, tree)


@pytest.mark.parametrize("name", [MODULE, DATA])
@pytest.mark.parametrize("change", ["edited", "deleted"])
def test_a_changed_file_of_the_checkout_is_seen(copied, name, change):
    here, tree = copied
    if change == "deleted":
        (here / name).unlink()
    else:
        (here / name).write_text("2, longer\n")
    assert not worktrees.same_sources(here, tree)


def test_a_new_module_of_the_checkout_is_seen(copied):
    here, tree = copied
    (here / "src/package/new.py").write_text("")
    assert not worktrees.same_sources(here, tree)
