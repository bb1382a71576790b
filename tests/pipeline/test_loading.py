"""DVC's stages and hashes: the same as by DVC alone, with only what has changed computed anew."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from dvc.output import Output
from dvc.repo import Repo, lock_repo

from mergershift.pipeline import known_hashes
from mergershift.pipeline.known_hashes import STORE, remember_hashes
from mergershift.pipeline.loading import share_dependencies

DVC_YAML = """
stages:
  cell:
    foreach: [a, b]
    do:
      cmd: cp -r given out-${item}
      deps: [given, source.txt, /etc/hostname]
      params: [conf.yaml: , other.yaml: [rate]]
      outs: ["out-${item}"]
  again:
    wdir: inside
    cmd: cp source.txt again.txt
    deps: [source.txt]
    outs: [again.txt]
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "a project"
    (folder / "given/deep").mkdir(parents=True)
    (folder / "inside").mkdir()
    monkeypatch.chdir(folder)
    Repo.init(no_scm=True).close()
    (folder / "dvc.yaml").write_text(DVC_YAML)
    for name in (
        "source.txt",
        "inside/source.txt",
        "given/one.txt",
        "given/deep/two.txt",
        "given/deep/three.txt",
    ):
        (folder / name).write_text(f"{name}\n")
    for name in ("conf.yaml", "other.yaml"):
        (folder / name).write_text("rate: 1\nsteps: 7\n")
    return folder


@contextmanager
def opened() -> Iterator[Repo]:
    with Repo() as repo, lock_repo(repo):
        yield repo


def described(repo: Repo) -> list[object]:
    return [
        (
            stage.addressing,
            stage.dumpd(),
            stage.changed(),
            [(type(dep), dep.fs_path, str(dep), vars(dep).keys(), dep.fs is repo.fs) for dep in stage.deps],
            [(dep.annot, dep.meta, dep.hash_info, dep.hash_name, dep.is_in_repo) for dep in stage.deps],
        )
        for stage in repo.index.stages
    ]


def test_stages_are_those_that_dvc_loads(project: Path) -> None:
    for _ in range(2):  # without a lock file, and with one
        with opened() as repo:
            expected = described(repo)
        with share_dependencies(), opened() as repo:
            assert described(repo) == expected
        with share_dependencies(), Repo() as repo:
            repo.reproduce()
    (project / "source.txt").write_text("edited\n")
    with share_dependencies(), opened() as repo:
        assert [stage.addressing for stage in repo.index.stages if stage.changed()] == ["cell@a", "cell@b"]


def test_a_dependency_of_one_stage_keeps_what_it_learns_to_itself(project: Path) -> None:
    with share_dependencies(), opened() as repo:
        first, second = (
            next(dep for dep in stage.deps if dep.def_path == "source.txt")
            for stage in sorted(repo.index.stages, key=lambda stage: stage.addressing)
            if stage.addressing.startswith("cell")
        )
    assert (first.stage.addressing, second.stage.addressing) == ("cell@a", "cell@b")
    first.save()
    first.meta.size = 99
    first.annot.labels.append("mine")
    assert first.hash_info
    assert not second.hash_info
    assert second.meta.size is None
    assert second.annot.labels == []


def test_what_dvc_refuses_is_still_refused(project: Path) -> None:
    from dvc.dependency.base import DependencyIsStageFileError

    (project / "dvc.yaml").write_text(DVC_YAML.replace("deps: [given,", "deps: [given.dvc,"))
    with share_dependencies(), opened() as repo, pytest.raises(DependencyIsStageFileError):
        _ = repo.index


def replace_folder() -> None:
    shutil.rmtree("given")
    Path("given").write_text("a file\n")


def replace_by_link() -> None:
    Path("given/one.txt").unlink()
    Path("given/one.txt").symlink_to("../source.txt")


CHANGES: dict[str, Callable[[], object]] = {
    "nothing": lambda: None,
    "an edit of the same size": lambda: Path("given/one.txt").write_text("Given/one.txt\n"),
    "an edit below": lambda: Path("given/deep/two.txt").write_text("longer than before\n"),
    "a new file": lambda: Path("given/deep/new.txt").write_text(""),
    "a new folder": lambda: shutil.copytree("given/deep", "given/deeper"),
    "a deletion": lambda: Path("given/deep/two.txt").unlink(),
    "another name": lambda: Path("given/one.txt").rename("given/other.txt"),
    "another folder": lambda: Path("given/one.txt").rename("given/deep/one.txt"),
    "two files that change places": lambda: (
        Path("given/deep/two.txt").rename("given/deep/x"),
        Path("given/deep/three.txt").rename("given/deep/two.txt"),
        Path("given/deep/x").rename("given/deep/three.txt"),
    ),
    "a file instead of the folder": replace_folder,
    "a link to another file": replace_by_link,
    "an ignored file": lambda: Path(".dvcignore").write_text("two.txt\n"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_change_is_noticed(project: Path, change: Callable[[], object]) -> None:
    def hashes() -> dict[str, str]:
        with opened() as repo:
            return {
                dep.def_path: dep.get_hash().value
                for stage in repo.index.stages
                for dep in stage.deps
                if type(dep).__name__ == "Dependency" and not dep.def_path.startswith("/")
            }

    with remember_hashes(project):
        before = hashes()
    assert before == hashes()
    change()
    with remember_hashes(project):
        found = hashes()
    assert found == hashes()
    assert (found == before) == (change is CHANGES["nothing"])


def test_only_what_has_changed_is_hashed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []
    compute = Output.get_hash

    def counted(self: Output) -> object:
        hashed.append(self.def_path)
        return compute(self)

    def changed() -> list[bool]:
        hashed.clear()
        with remember_hashes(project), opened() as repo:
            return [stage.changed() for stage in repo.index.stages]

    with Repo() as repo:
        repo.reproduce()
    monkeypatch.setattr(Output, "get_hash", counted)
    assert changed() == [False] * 3
    assert {"given", "out-a", "source.txt"} <= set(hashed)
    assert changed() == [False] * 3
    assert set(hashed) == {"/etc/hostname"}, "which is not in the checkout"
    (project / "out-a/one.txt").unlink()
    assert changed() == [True, False, False]
    assert "out-a" in hashed
    assert "out-b" not in hashed
    shutil.rmtree(project / "out-a")
    (project / "given/one.txt").write_text("edited\n")
    changed()
    stored = json.loads((project / STORE).read_text())
    assert "md5 out-b" in stored
    assert "md5 out-a" not in stored, "it no longer exists"


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"version": "DVC 0", "md5 given": ["state", "wrong"]}'])
def test_a_damaged_or_older_store_is_not_used(project: Path, text: str) -> None:
    (project / STORE).write_text(text)
    with remember_hashes(project), opened() as repo:
        assert all(stage.changed() for stage in repo.index.stages)
    assert os.path.getsize(project / STORE) > 100
    assert known_hashes._read(project / STORE).keys() >= {"md5 given"}
