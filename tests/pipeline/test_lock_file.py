"""DVC's lock file: the same content and bytes as by DVC alone, with only what has changed parsed and written anew."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
from dvc.exceptions import DvcException
from dvc.lock import LockError
from dvc.output import Output
from dvc.repo import Repo
from dvc.utils.serialize import _yaml as serialize

from mergershift.pipeline import lock_file
from mergershift.pipeline.lock_file import STORE, remember_parsed
from mergershift.pipeline.results import Remote, open_pipeline

COMMAND = (
    "echo 'a command that is longer than a line of YAML, which is folded in the lock file' > out/${item}.txt"
)
DVC_YAML = f"""
stages:
  first:
    foreach: [a, b, c]
    do:
      cmd: mkdir -p out && {COMMAND} && cat conf.yaml >> out/${{item}}.txt
      params:
        - conf.yaml:
      deps: [source.txt]
      outs: ["out/${{item}}.txt"]
  whole:
    cmd: cat out/*.txt > whole.txt
    deps: [out]
    outs: [whole.txt]
"""
CONF = """
rate: 1e-3
none: null
truth: true
number: 7
text: '7'
day: "2024-01-02"
list: [1, {deep: 0.5}, "µJy: # no comment"]
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    Repo.init(no_scm=True).close()
    (folder / "dvc.yaml").write_text(DVC_YAML)
    (folder / "conf.yaml").write_text(CONF)
    (folder / "source.txt").write_text("source\n")
    return folder


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Texts that DVC's own parser is given."""
    texts: list[str] = []
    dvc_parse = lock_file._parse

    def parse(text: str, path: str, typ: str = "safe") -> object:
        texts.append(text)
        return dvc_parse(text, path, typ=typ)

    monkeypatch.setattr(lock_file, "_parse", parse)
    return texts


def reproduce(*targets: str, remembering: bool = True) -> list[str]:
    """Run the pipeline here; returns the stages that ran."""
    here = Path.cwd()
    with remember_parsed(here) if remembering else nullcontext(), Repo(str(here)) as repo:
        return [stage.addressing for stage in repo.reproduce(list(targets) or None)]


def test_the_lock_file_has_the_bytes_that_dvc_writes(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = shutil.copytree(project, project.with_name("alone"))

    def both(*targets: str) -> list[str]:
        ran = reproduce(*targets)
        monkeypatch.chdir(alone)
        assert reproduce(*targets, remembering=False) == ran
        monkeypatch.chdir(project)
        assert (project / "dvc.lock").read_bytes() == (alone / "dvc.lock").read_bytes()
        return ran

    assert both("first@b") == ["first@b"]
    assert both() == ["first@a", "first@c", "whole"]
    for folder in (project, alone):
        (folder / "conf.yaml").write_text(CONF.replace("1e-3", "0.5"))
    assert both("first@b") == ["first@b"]
    assert both() == ["first@a", "first@c", "whole"]
    assert both() == []
    assert serialize.parse_yaml is lock_file._parse, "DVC is itself again"


def test_only_what_has_changed_is_parsed_again(project: Path, parsed: list[str]) -> None:
    reproduce()
    parsed.clear()
    reproduce()
    assert [text.split(":")[0] for text in parsed] == ["  whole"], "the entry that was written last"
    parsed.clear()
    assert reproduce() == []
    assert parsed == []
    (project / "conf.yaml").write_text(CONF.replace("1e-3", "0.5"))
    assert reproduce("first@a") == ["first@a"]
    assert len(parsed) == 1, "the parameters, for one stage or for many"
    parsed.clear()
    (project / STORE).write_text("damaged")
    assert reproduce("first@a") == []
    assert parsed


def test_dvc_says_what_is_wrong_with_a_lock_file(project: Path) -> None:
    reproduce()
    lock = project / "dvc.lock"
    whole = lock.read_text()
    for broken in (
        whole.replace("  first@b:", "<<<<<<< HEAD\n  first@b:"),
        whole.replace("  first@b:", "  first@a:"),
        whole.replace("    deps:", "    deps: ]", 1),
    ):
        lock.write_text(broken)
        messages = []
        for remembering in (True, False):
            with pytest.raises(DvcException) as caught:
                reproduce(remembering=remembering)
            messages.append(str(caught.value))
        assert messages[0] == messages[1]
    lock.write_text(f"# mine\n{whole}")
    (project / "conf.yaml").write_text(CONF.replace("1e-3", "0.5"))
    assert reproduce("first@a") == ["first@a"]
    assert lock.read_text().startswith("# mine\n"), "DVC keeps comments"


def outdated(here: Path) -> set[str]:
    """Stages that cannot be restored."""
    with open_pipeline(here) as pipeline:
        return pipeline.restore(
            {stage.address: stage.address for stage in pipeline.stages}, Remote(), pull=False
        )


def test_a_file_that_many_stages_depend_on_is_compared_once(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reproduce()
    compared: list[str] = []
    changed = Output.changed_checksum

    def counted(output: Output) -> bool:
        compared.append(Path(output.fs_path).name)
        return bool(changed(output))

    monkeypatch.setattr(Output, "changed_checksum", counted)
    assert outdated(project) == set()
    assert sorted(compared) == ["a.txt", "b.txt", "c.txt", "out", "source.txt", "whole.txt"]
    (project / "out/b.txt").write_text("changed")
    assert outdated(project) == set(), "restored from the cache"
    assert "changed" not in (project / "out/b.txt").read_text()
    (project / "source.txt").write_text("changed\n")
    assert outdated(project) == {"first@a", "first@b", "first@c", "whole"}
    (project / "source.txt").write_text("source\n")
    (project / "conf.yaml").write_text(CONF.replace("1e-3", "2e-3"))
    assert outdated(project) == {"first@a", "first@b", "first@c", "whole"}


def test_a_stage_that_another_process_runs_is_not_judged(project: Path) -> None:
    reproduce()
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "dvc", "repro"]) as other:
        running = {"write": {str(project / "out/b.txt"): {"pid": other.pid, "cmd": "dvc repro"}}, "read": {}}
        (project / ".dvc/tmp/rwlock").write_text(json.dumps(running))
        with pytest.raises(LockError, match="is being blocked"):
            outdated(project)
        other.kill()
    assert outdated(project) == set(), "what a killed process has left behind blocks nothing"
