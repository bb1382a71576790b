"""`mergershift repro --jobs`: cells that run in parallel in worktrees."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from pipeline.shell import RunCounter
from studies import (
    ENVIRONMENT,
    EPOCHS,
    begin_repro,
    cell_of,
    checkpoint,
    kill_family,
    leave_page_out,
    ran,
    repro,
    runs,
    stages,
    steps,
    write_study,
)

from mergershift.config.study import read_study
from mergershift.core.errors import UserError
from mergershift.core.files import exclusive_lock
from mergershift.pipeline import parallel, worktrees
from mergershift.pipeline.dvc import _repeats, dvc_repro, run_repro
from mergershift.pipeline.graph import read_plan
from mergershift.pipeline.repro import repro as pipeline_repro
from mergershift.pipeline.results import open_pipeline

pytestmark = pytest.mark.system


def result(project: Path, cell: str) -> str:
    return (project / f"outputs/cells/{cell}/evaluation/metrics.json").read_text()


def marked(folder: Path) -> list[psutil.Process]:
    """Processes that run in the worktrees of the project in `folder`."""
    trees = folder / "state/worktrees"
    return [process for process in psutil.process_iter() if worktrees._runs_in(process, trees)]


def wait_until(condition, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


PARALLEL = "from mergershift.pipeline import parallel; parallel.repro(2)"
SERIAL = "from mergershift.pipeline.dvc import dvc_repro; dvc_repro(['train@a'])"
INTERRUPTED = "from mergershift.core.processes import *\nwith interrupted_by(*STOP_SIGNALS): "


def start(project: Path, log: Path, code: str = PARALLEL) -> subprocess.Popen:
    command = [sys.executable, "-c", code]
    # What starts the tests in the background may have had Ctrl-C ignored, and children inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with log.open("w") as file:
            return subprocess.Popen(
                command, cwd=project, stdout=file, stderr=file, env=os.environ | ENVIRONMENT
            )
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_plan_comes_from_the_pipeline(shell):
    with open_pipeline(shell) as pipeline:
        plan = read_plan(pipeline.stages)
    assert plan.before == ("code", "note"), "the stages that the cells need, and no others"
    assert [cell.name for cell in plan.cells] == ["cells/a", "cells/b", "cells/c"]
    assert plan.cells[1].stages == ("train@b", "evaluate@b")
    assert plan.cells[1].inputs == ("outputs/code", "outputs/note.txt")


def test_the_plan_of_the_study(project):
    (project / "data").mkdir()
    with open_pipeline(project) as pipeline:
        plan = read_plan(pipeline.stages)
    cells = read_study().cells()
    assert [cell.name for cell in plan.cells] == [
        cell.folder.relative_to("outputs").as_posix() for cell in cells
    ]
    assert all(
        [name.split("@")[0] for name in cell.stages[:2]] == ["train", "evaluate"] for cell in plan.cells
    )
    assert {"prepare@two", "prepare@three"} <= set(plan.before)
    assert not any(name.startswith(("train", "evaluate", "summary")) for name in plan.before)


def test_cells_use_the_files_of_the_working_tree(shell, runs_of, capfd):
    (shell / "src/code.txt").write_text("code as edited\n")
    (shell / "src/old.txt").unlink()
    (shell / "src/new.txt").write_text("")
    (shell / ".dvc/config.local").write_text(
        "[cache]\n    dir = ../../the cache\n['remote \"mine\"']\n    url = ../../store\n"
    )
    (runs_of.folder / "wait for").write_text("b")
    parallel.repro(2)
    out = capfd.readouterr().out
    assert "3 of 3 cells to run, 2 at a time" in out
    assert sorted(re.findall(r"Running stage '(.*)'", out)) == ["aside", "code", "note", "summary"]
    for cell in "abc":
        listed = (
            "code as edited\ncode as edited\n" + f"{cell} as committed\n" + "code.txt\nnew.txt\ntrain.sh\n"
        )
        assert result(shell, cell) == listed
        assert runs_of(cell) == 1
        assert f"\n{cell}: done after" in out
        assert "/state/worktrees/" in (runs_of.folder / cell).read_text()
    assert (shell / "outputs/summary.txt").exists()
    assert (shell.parent / "the cache" / "runs").is_dir()
    tree = shell / "state/worktrees/1"
    assert not (tree / ".dvc/cache").exists()
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "remote", "list"], cwd=tree, capture_output=True, text=True
    )
    assert str(shell.parent / "store") in done.stdout

    parallel.repro(2)
    assert "started" not in capfd.readouterr().out, "everything is up to date"

    (shell / "dvc.lock").unlink()
    shutil.rmtree(shell / "outputs")
    parallel.repro(2)
    assert "started" not in capfd.readouterr().out, "everything is in the cache"
    assert result(shell, "c").startswith("code as edited")

    (shell / "conf/b.txt").write_text("b as edited\n")
    os.chdir(shell / "src")
    parallel.repro(8)
    out = capfd.readouterr().out
    assert "b: started" in out
    assert "b as edited" in result(shell, "b")
    assert [runs_of(cell) for cell in "abc"] == [1, 2, 1]

    (shell / "conf/b.txt").write_text("b as committed\n")
    parallel.repro(2)
    assert "started" not in capfd.readouterr().out, "an earlier result is taken from the cache"
    assert "b as committed" in result(shell, "b")


@pytest.mark.parametrize("edited", [False, True])
def test_processes_import_while_earlier_stages_run_and_again_what_was_edited(
    shell, runs_of, monkeypatch, edited
):
    started: list[Path] = []

    class Counted(parallel.WarmProcess):
        def __init__(self, tree: Path, environment: dict[str, str]) -> None:
            started.append(tree)
            super().__init__(tree, environment)

    def before(stages: list[str]) -> None:
        assert len(started) == 2, "while the stages before the cells run"
        dvc_repro(stages)
        if edited:
            (shell / "src/edited.py").write_text("")

    monkeypatch.setattr(parallel, "WarmProcess", Counted)
    monkeypatch.setattr(parallel, "dvc_repro", before)
    parallel.repro(2)
    trees = [shell / "state/worktrees" / number for number in "12"]
    assert started == trees * (2 if edited else 1)
    assert result(shell, "c")
    assert not marked(shell)


def test_a_failed_cell_stops_no_other(shell, runs_of, capfd):
    (shell / "conf/a.txt").write_text("broken\n")
    with pytest.raises(UserError, match="cells/a failed") as error:
        parallel.repro(2)
    assert str(error.value).count("\n") == 1
    out, err = capfd.readouterr()
    log = shell / "state/logs/cells/a.log"
    assert f"its full output is in {log}" in err
    assert "a is broken" in err
    assert "a is broken" in log.read_text()
    assert "a: failed after" in out
    assert "b as committed" in result(shell, "b"), "the others are collected"
    assert "c as committed" in result(shell, "c")
    assert not (shell / "outputs/summary.txt").exists()
    (shell / "conf/a.txt").write_text("fixed\n")
    parallel.repro(2)
    assert [runs_of(cell) for cell in "abc"] == [2, 1, 1]
    assert "fixed" in (shell / "outputs/summary.txt").read_text()


def test_the_next_command_recovers_from_a_kill(shell, runs_of, tmp_path):
    """SIGKILL leaves the workers running; the next command ends them and cleans up what they left behind."""
    (shell / "conf/study.yaml").write_text("cells: [a, b]\n")
    parallel.repro(2)
    (shell / "conf/study.yaml").write_text("cells: [a, b, c]\n")
    (shell / "conf/b.txt").write_text("b as edited\n")
    (runs_of.folder / "sleep").touch()
    process = start(shell, tmp_path / "log")
    wait_until(lambda: runs_of("b") == 2 and runs_of("c") == 1)
    process.kill()
    process.wait()
    left = marked(shell)
    assert left, "otherwise the test proves nothing"
    (runs_of.folder / "sleep").unlink()
    shutil.rmtree(shell / "state/worktrees/1")
    (shell / ".git/worktrees/2/index.lock").touch()
    (shell / "state/worktrees/2/.dvc/tmp/rwlock").write_text("torn")
    (shell / "state/worktrees/2/outputs/cells/c").mkdir(parents=True, exist_ok=True)
    (shell / "state/worktrees/2/outputs/cells/c/half").touch()
    parallel.repro(2)
    assert not any(survivor.is_running() and survivor.status() != psutil.STATUS_ZOMBIE for survivor in left)
    assert [runs_of(cell) for cell in "abc"] == [1, 3, 2]
    assert "b as edited" in result(shell, "b")


def test_cells_that_train_on_gpus_are_spread_over_them(shell, runs_of, monkeypatch, capfd):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-b8ea3855")
    (runs_of.folder / "wait for").write_text("b")
    parallel.repro(2, "gpu")
    assert "GPU 2 for process 1, GPU-b8ea3855 for process 2\n" in capfd.readouterr().out
    used = (runs_of.folder / "devices").read_text().split()
    assert len(used) == 3
    assert set(used) == {"2", "GPU-b8ea3855"}


def hold_summary(shell: Path, runs_of: RunCounter) -> None:
    """Let the last stage wait, as one does that takes long."""
    text = (shell / "dvc.yaml").read_text()
    wait = 'cmd: if [ -f "$RUNS/hold" ]; then touch "$RUNS/held"; sleep 300; fi; cat outputs/cells'
    (shell / "dvc.yaml").write_text(text.replace("cmd: cat outputs/cells", wait))
    (runs_of.folder / "hold").touch()


@pytest.mark.parametrize("edited", [False, True])
def test_the_last_stages_run_in_a_process_that_has_run_cells(shell, runs_of, monkeypatch, capfd, edited):
    started: list[Sequence[str]] = []

    def new_process(arguments: Sequence[str]) -> int:
        started.append(arguments)
        return run_repro(arguments)

    def run(*arguments: Any) -> dict[Any, int]:
        failed = run_cells(*arguments)
        if edited:  # the content is the same, so that no cell is out of date
            os.utime(shell / "src/code.txt", (1, 1))
        return failed

    run_cells = parallel.run
    monkeypatch.setattr(parallel, "run", run)
    monkeypatch.setattr(parallel, "run_repro", new_process)
    parallel.repro(2)
    assert [sorted(arguments) for arguments in started] == [["--single-item", "aside", "summary"]] * edited
    printed = capfd.readouterr().out
    assert printed.rindex("done after") < printed.index("Running stage 'summary'")
    assert "c as committed" in (shell / "outputs/summary.txt").read_text()
    assert not marked(shell)


def test_an_error_of_a_last_stage_is_reported_alike_in_a_new_process(shell, runs_of, capfd):
    text = (shell / "dvc.yaml").read_text()
    (shell / "dvc.yaml").write_text(
        text.replace("cmd: cat outputs", "cmd: echo broken >&2 && exit 3; cat outputs")
    )
    said = []
    for _ in range(2):  # the second command runs no cell
        with pytest.raises(UserError, match="The pipeline stopped") as error:
            parallel.repro(2)
        out, err = capfd.readouterr()
        said.append((str(error.value), out[out.index("Running stage 'summary'") :], err))
        assert "exited with 3" in err
    assert said[0] == said[1]
    assert not marked(shell)


def test_a_process_that_is_killed_during_the_last_stages_is_replaced(shell, runs_of, tmp_path):
    hold_summary(shell, runs_of)
    process = start(shell, tmp_path / "log")
    wait_until((runs_of.folder / "held").exists)
    (runs_of.folder / "hold").unlink()
    (warm,) = psutil.Process(process.pid).children()
    family = warm.children(recursive=True)
    assert len(family) >= 2
    warm.kill()
    assert process.wait(timeout=60) == 0
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in family)
    log = (tmp_path / "log").read_text()
    assert "The pipeline was killed by signal 9; it is tried once more." in log
    assert log.count("Running stage 'summary'") == 2
    assert "c as committed" in (shell / "outputs/summary.txt").read_text()
    assert [runs_of(cell) for cell in "abc"] == [1, 1, 1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_of_the_last_stages_leaves_no_process_running(shell, runs_of, tmp_path, number):
    hold_summary(shell, runs_of)
    process = start(shell, tmp_path / "log")
    wait_until((runs_of.folder / "held").exists)
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 3
    process.send_signal(number)
    assert process.wait(timeout=30)
    assert "KeyboardInterrupt" in (tmp_path / "log").read_text()
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in family)
    assert not marked(shell)
    (runs_of.folder / "hold").unlink()
    parallel.repro(2)
    assert [runs_of(cell) for cell in "abc"] == [1, 1, 1]
    assert (shell / "outputs/summary.txt").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_no_process_running(shell, runs_of, tmp_path, number):
    (runs_of.folder / "sleep").touch()
    process = start(shell, tmp_path / "log")
    wait_until(lambda: runs_of("a") and runs_of("b"))
    with pytest.raises(UserError, match="another `mergershift repro --jobs` or `--on` is running") as error:
        parallel.repro(2)
    assert str(error.value).count("\n") == 1
    assert marked(shell)
    process.send_signal(number)
    assert process.wait(timeout=30)
    assert "KeyboardInterrupt" in (tmp_path / "log").read_text()
    assert not marked(shell)


@pytest.mark.parametrize(
    ("number", "code", "cells"),
    [(signal.SIGUSR1, PARALLEL, "ab"), (signal.SIGINT, SERIAL, "a"), (signal.SIGTERM, SERIAL, "a")],
    ids=["parallel", "serial, Ctrl-C", "serial"],
)
def test_an_interrupted_training_saves_how_far_it_has_come(shell, runs_of, tmp_path, number, code, cells):
    """The signal reaches only the command, as a scheduler's does, not DVC or the trainings."""
    runs_of.train()
    process = start(shell, tmp_path / "log", INTERRUPTED + code)
    wait_until(lambda: all(runs_of.has(cell, "trains") for cell in cells))
    family = psutil.Process(process.pid).children(recursive=True)
    began = time.monotonic()
    process.send_signal(number)
    assert process.wait(timeout=30)
    assert time.monotonic() - began < 9, "`docker stop` kills after 10 s"
    assert all(runs_of.has(cell, "saved") for cell in cells)
    assert len(family) >= 2 * len(cells)
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in family)


def test_a_training_whose_dvc_is_killed_saves_how_far_it_has_come(shell, runs_of, tmp_path):
    (shell / "conf/study.yaml").write_text("cells: [a]\n")
    runs_of.train()
    process = start(shell, tmp_path / "log")
    wait_until(lambda: runs_of.has("a", "trains"))
    (runs_of.folder / "training.py").unlink()
    (dvc,) = psutil.Process(process.pid).children()
    dvc.kill()
    assert process.wait(timeout=60) == 0
    assert runs_of.has("a", "saved")
    assert runs_of("a") == 2


def test_a_killed_pipeline_is_not_run_again_with_what_repeats_it(shell, runs_of):
    (shell / "conf/a.txt").write_text("deadly\n")
    with pytest.raises(UserError, match=r"killed by signal 9\. Probably the memory ran out") as error:
        dvc_repro(["-f", "train@a"])
    assert str(error.value).count("\n") == 1
    assert "without --force and --interactive" in str(error.value)
    assert runs_of("a") == 1
    assert _repeats(["train@a", "-i"])
    assert not _repeats(["--force-downstream", "train@a"])


def test_an_edit_while_cells_run_is_not_mixed_with_their_results(shell, runs_of, tmp_path):
    (shell / "conf/study.yaml").write_text("cells: [a]\n")
    (runs_of.folder / "wait for").write_text("go")
    process = start(shell, tmp_path / "log")
    wait_until(lambda: runs_of("a"))
    (shell / "conf/a.txt").write_text("a as edited\n")
    (runs_of.folder / "go").touch()
    assert process.wait(timeout=60)
    assert "cells/a: out of date again" in (tmp_path / "log").read_text()
    assert not (shell / "outputs/summary.txt").exists()
    parallel.repro(2)
    assert "a as edited" in result(shell, "a")
    (shell / "conf/a.txt").write_text("a as committed\n")
    parallel.repro(2)
    assert "a as committed" in result(shell, "a"), "the cell ran with the files as they were when it started"
    assert runs_of("a") == 2


def test_a_killed_cell_is_tried_once_more(shell, runs_of, tmp_path):
    """Only DVC is killed in one cell, and only the stage's command in the other."""
    (shell / "conf/study.yaml").write_text("cells: [a, b]\n")
    (runs_of.folder / "sleep").touch()
    process = start(shell, tmp_path / "log")
    wait_until(lambda: runs_of("a") and runs_of("b"))
    (runs_of.folder / "sleep").unlink()
    trees = [Path((runs_of.folder / cell).read_text().strip()) for cell in "ab"]
    workers = {Path(child.cwd()): child for child in psutil.Process(process.pid).children()}
    (command,) = workers[trees[1]].children()
    workers[trees[0]].kill()
    command.kill()
    assert process.wait(timeout=60) == 0
    log = (tmp_path / "log").read_text()
    for cell in "ab":
        assert f"\n{cell}: killed by signal 9; it is tried once more\n" in log
        assert f"\n{cell}: done after" in log
        assert runs_of(cell) == 2
        assert f"{cell} as committed" in result(shell, cell)
    assert not marked(shell)


def test_a_cell_that_is_killed_twice_has_failed(shell, runs_of, capfd):
    (shell / "conf/study.yaml").write_text("cells: [a, b]\n")
    (shell / "conf/a.txt").write_text("deadly\n")
    with pytest.raises(UserError, match="cells/a failed"):
        parallel.repro(2)
    assert "cells/a failed (killed by signal 9 twice. Probably the memory ran out" in capfd.readouterr().err
    assert runs_of("a") == 2
    assert "b as committed" in result(shell, "b")
    with pytest.raises(UserError, match="killed by signal 9 twice") as error:
        dvc_repro()
    assert str(error.value).count("\n") == 1
    assert "memory" in str(error.value)
    assert runs_of("a") == 4


def test_nothing_that_dvc_started_outlives_it(shell, runs_of, tmp_path):
    (runs_of.folder / "sleep").touch()
    code = "from mergershift.pipeline.dvc import dvc_repro; dvc_repro(['train@a'])"
    with (tmp_path / "log").open("w") as log:
        command, variables = [sys.executable, "-c", code], os.environ | ENVIRONMENT
        process = subprocess.Popen(command, stdout=log, stderr=log, env=variables)
    wait_until(lambda: runs_of("a"))
    (runs_of.folder / "sleep").unlink()
    (dvc,) = psutil.Process(process.pid).children()
    family = dvc.children(recursive=True)
    dvc.kill()
    assert process.wait(timeout=60) == 0
    assert family
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in family)
    assert runs_of("a") == 2
    assert "killed by signal 9; it is tried once more" in (tmp_path / "log").read_text()


def test_a_git_worktree_of_the_user_runs_its_cells_while_another_runs_its_own(shell, runs_of, monkeypatch):
    other = shell.with_name("other")
    subprocess.run(["git", "worktree", "add", "-q", "--detach", other], cwd=shell, check=True)
    (other / "conf/a.txt").write_text("a in the other\n")
    monkeypatch.chdir(other)
    with exclusive_lock(shell / "state/jobs.lock", "in use"):
        parallel.repro(2)
    assert "a in the other" in result(other, "a")
    assert str(other / "state/worktrees") in (runs_of.folder / "a").read_text()
    assert not (shell / "outputs").exists()


def test_code_installed_from_elsewhere_is_used_as_it_is(shell):
    tree = shell / "state/worktrees/1"
    found = worktrees.environment(shell, tree, {"PYTHONPATH": "mine", "GIT_DIR": "other", "HOME": "x"})
    assert found == {"PYTHONPATH": "mine", "HOME": "x", worktrees.MARK: str(tree), "PYTHONUNBUFFERED": "1"}
    here = Path(worktrees.__file__).parents[3]
    assert worktrees.environment(here, tree, {})["PYTHONPATH"] == str(tree / "src")


def test_an_unsuitable_checkout_is_reported_in_two_lines(shell, monkeypatch):
    shutil.rmtree(shell / ".git")
    with pytest.raises(UserError, match="in a git checkout") as error:
        parallel.repro(2)
    assert str(error.value).count("\n") == 1
    subprocess.run(["git", "init", "-q"], cwd=shell, check=True)
    with pytest.raises(UserError, match="with a commit") as error:
        parallel.repro(2)
    assert str(error.value).count("\n") == 1
    with pytest.raises(UserError, match="takes no other arguments, found: --force") as error:
        pipeline_repro(["--force"], jobs=2)
    (shell / ".git").rename(shell.parent / ".git")
    with pytest.raises(UserError, match="not the top of its git checkout"):
        parallel.repro(2)


def test_a_killed_study_goes_on_and_gives_the_same_bytes_as_one_after_the_other(studied, tmp_path):
    """kill -9 of everything in mid-training; the same command then brings the same runs to their end."""
    files = ("train/epochs.csv", "evaluation/metrics.json", "evaluation/predictions.csv")

    def results(*methods: str) -> list[bytes]:
        return [(cell_of(studied, method) / name).read_bytes() for method in methods for name in files]

    serial = results("mmd", "source_only")
    for name in ("outputs", ".dvc/cache", "mlartifacts", "state"):
        shutil.rmtree(studied / name)
    for name in ("dvc.lock", "mlflow.db"):
        (studied / name).unlink()
    # One of the methods is of files that git does not know yet, and computes what another does.
    (studied / "src/mergershift/adaptation/mine.py").write_text(
        "from mergershift.adaptation.source_only import SourceOnly\n\n"
        'print(f"computed by {__file__}")\n\n\nclass Mine(SourceOnly):\n    """No name."""\n'
    )
    given = (studied / "conf/adaptation/source_only.yaml").read_text()
    (studied / "conf/adaptation/mine.yaml").write_text(given.replace("source_only.SourceOnly", "mine.Mine"))
    write_study(studied, "mmd", "mine")
    leave_page_out(studied)

    process = begin_repro(studied, tmp_path / "log", "--jobs", "2")
    wait_until(checkpoint(studied, "mmd").exists, 120)
    kill_family(process)
    said = (tmp_path / "log").read_text()
    interrupted = {run.info.run_id: run.info.status for run in runs(studied)}
    assert "RUNNING" in interrupted.values(), said

    done = repro(studied, "--jobs", "2")
    assert sorted(stages(said)) == ["code", "prepare@two"], "the checkout itself trains nothing"
    assert ran(done) == ["summary"], "the checkout itself trains nothing"
    assert results("mmd", "mine") == serial
    assert "Balanced accuracy" in done.stdout, "the transfer table is printed"
    log = (studied / "state/logs/cells/two/pristine_to_noisy/mine/default/seed0.log").read_text()
    (computed,) = set(re.findall(r"computed by (\S+)/src/", log))
    assert Path(computed).parent == studied / "state/worktrees", "the worktree's own copy of the code"
    finished = runs(studied)
    assert len(finished) == 2
    assert interrupted.keys() <= {run.info.run_id for run in finished}
    for run in finished:
        assert run.info.status == "FINISHED"
        assert run.data.params["method"] in ("mmd", "mine")
        assert steps(studied, run) == list(range(EPOCHS)), "every epoch once"
