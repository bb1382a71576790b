"""Results that need not be computed: a clone takes what DVC's remote has."""

from __future__ import annotations

import http.server
import os
import shutil
import subprocess
import threading
from pathlib import Path
from typing import ClassVar

import pytest
from checkouts import copy
from pipeline.shell import RunCounter, write_shell_project
from studies import dvc

from mergershift.core.errors import UserError
from mergershift.pipeline import parallel
from mergershift.pipeline.dvc import dvc_repro
from mergershift.pipeline.graph import survey
from mergershift.pipeline.results import Remote

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a finished and committed pipeline, and the remote that it has been pushed to."""
    folder = tmp_path_factory.mktemp("pushed")
    project = write_shell_project(folder / "project")
    (folder / "remote").mkdir()
    (project / "data").mkdir()
    (project / "data/images.txt").write_text("images\n")
    with (project / ".gitignore").open("a") as ignored:
        ignored.write("/data\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        patch.setenv("RUNS", str(folder))
        dvc(project, "add", "--quiet", "data")
        dvc(project, "remote", "add", "--quiet", "--default", "store", str(folder / "remote"))
        dvc_repro()
        dvc(project, "push", "--quiet", "--run-cache")
    identity = ["-c", "user.name=Test", "-c", "user.email=test@localhost"]
    # In this pipeline git tracks one output, as it does tuned experiments.
    for command in (["add", "."], ["add", "--force", "outputs/note.txt"], ["commit", "-q", "-m", "results"]):
        subprocess.run(["git", *identity, *command], cwd=project, check=True)
    return folder


class Dead(http.server.BaseHTTPRequestHandler):
    """A server that answers every request with an error."""

    requests: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.requests.append(self.path)
        self.send_error(503)

    do_HEAD = do_GET

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def remote(pushed: Path, tmp_path: Path) -> Path:
    copy(pushed / "remote", tmp_path / "remote")
    return tmp_path / "remote"


@pytest.fixture
def cloned(
    pushed: Path, remote: Path, runs_of: RunCounter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """What a teammate clones; none of its cells has been run here."""
    folder = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", pushed / "project", folder], check=True)
    (folder / ".dvc/config.local").write_text(f"['remote \"store\"']\n    url = {remote}\n")
    monkeypatch.chdir(folder)
    return folder


def drop(remote: Path, project: Path, output: str) -> None:
    """Delete a file of the remote that is an output of the project."""
    text = (project / "dvc.lock").read_text()
    digest = text.rsplit(f"path: {output}\n", 1)[1].split("md5: ", 1)[1].split()[0]
    (remote / "files/md5" / digest[:2] / digest[2:]).unlink()


def ran(runs_of: RunCounter) -> str:
    """Names of the cells that have been run since the clone was made."""
    return "".join(cell for cell in "abc" if runs_of(cell))


def test_pull_takes_everything_and_runs_nothing(cloned: Path, runs_of: RunCounter, capfd) -> None:
    locked = (cloned / "dvc.lock").read_text()
    assert survey(cloned, pull=True)[1] == set()
    assert (cloned / "data/images.txt").read_text() == "images\n"
    assert "b as committed" in (cloned / "outputs/summary.txt").read_text()
    parallel.repro(2)
    dvc_repro()
    assert capfd.readouterr().out.count("Data and pipelines are up to date.") == 2
    assert ran(runs_of) == ""
    assert (cloned / "dvc.lock").read_text() == locked


def test_what_dvc_lock_lists_is_fetched_rather_than_run(cloned: Path, runs_of: RunCounter, capfd) -> None:
    dvc(cloned, "pull", "--quiet", "data.dvc")
    parallel.repro(2)
    assert ran(runs_of) == ""
    assert "c as committed" in (cloned / "outputs/summary.txt").read_text()
    shutil.rmtree(cloned / ".dvc/cache")  # the remote is the only place that still has them
    shutil.rmtree(cloned / "outputs/cells")
    parallel.repro(2)
    assert ran(runs_of) == ""


@pytest.mark.parametrize("lock", [True, False])
def test_only_what_the_remote_lacks_is_run(
    cloned: Path, remote: Path, runs_of: RunCounter, lock: bool
) -> None:
    """With dvc.lock, or with nothing but the run cache."""
    drop(remote, cloned, "outputs/cells/b/train/result.txt")
    if not lock:
        (cloned / "dvc.lock").unlink()
    _, outdated = survey(cloned, pull=True)
    assert {name for name in outdated if name.startswith("cells/")} >= {"cells/b"}
    parallel.repro(2)
    assert ran(runs_of) == "b"
    assert "b as committed" in (cloned / "outputs/summary.txt").read_text()


def test_a_remote_that_cannot_be_used_is_reported_in_two_lines(
    cloned: Path, remote: Path, runs_of: RunCounter, capfd
) -> None:
    remote.rename(remote.with_name("moved"))
    with pytest.raises(UserError, match=f"DVC remote 'store' .* cannot be used: {remote} does not") as error:
        survey(cloned, pull=True)
    assert str(error.value).count("\n") == 1
    assert {"cells/a", "cells/b", "cells/c"} <= survey(cloned)[1], "without --pull it is tried once"
    assert capfd.readouterr().err.count("cannot be used") == 1
    os.unlink(".dvc/config.local")
    dvc(cloned, "remote", "remove", "store")
    with pytest.raises(UserError, match="No DVC remote is configured") as error:
        survey(cloned, pull=True)
    assert str(error.value).count("\n") == 1


def test_a_server_that_is_down_is_tried_once_per_command(cloned: Path, capfd) -> None:
    with http.server.ThreadingHTTPServer(("localhost", 0), Dead) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://localhost:{server.server_port}/store"
        (cloned / ".dvc/config.local").write_text(f"['remote \"store\"']\n    url = {address}\n")
        remote = Remote()
        for _ in range(2):
            assert {"cells/a", "cells/b", "cells/c"} <= survey(cloned, remote)[1]
        assert set(Dead.requests) == {"/store"}, "no result is asked for"
        assert capfd.readouterr().err.count(f"({address}) cannot be used: 503") == 1
        with pytest.raises(UserError, match="cannot be used: 503"):
            survey(cloned, pull=True)
        server.shutdown()


def test_an_exception_of_a_remote_s_library_costs_the_remote_and_not_the_command(
    cloned: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    asked = []

    def pull(*_arguments: object, **_options: object) -> None:
        asked.append(1)
        raise ConnectionResetError("the server hung up")

    monkeypatch.setattr("dvc.data_cloud.DataCloud.pull", pull)
    remote = Remote()
    assert {"cells/a", "cells/b", "cells/c"} <= survey(cloned, remote)[1]
    before = len(asked)
    survey(cloned, remote)
    assert len(asked) == before
    assert capfd.readouterr().err.count("cannot be used: the server hung up") == 1
    with pytest.raises(UserError, match="cannot be used: the server hung up"):
        survey(cloned, pull=True)


def test_a_survey_runs_no_command(shell: Path, runs_of: RunCounter) -> None:
    """Not even of stages that DVC's cache of runs refuses; what DVC's cache has of their results is restored."""
    (shell / "dvc.yaml").write_text(
        "stages:\n"
        + "".join(
            f"  {name}: {{cmd: 'echo >> $RUNS/{name}; echo > {name}; echo > git-{name}', "
            f"deps: [src/code.txt], outs: [{out}, {{git-{name}: {{cache: false}}}}]{more}}}\n"
            for name, out, more in (
                ("always", "always", ", always_changed: true"),
                ("kept", "{kept: {persist: true}}", ""),
                ("tuned", "tuned", ""),
            )
        )
    )
    dvc_repro(["always", "kept", "tuned"])
    for name in ("kept", "tuned"):
        (shell / name).unlink()
    assert survey(shell)[1] >= {"always"}
    assert survey(shell)[1].isdisjoint({"kept", "tuned"})
    assert (shell / "kept").exists()
    assert (shell / "tuned").exists()
    (shell / "git-kept").unlink()
    assert survey(shell)[1] >= {"always", "kept"}
    assert [runs_of(name) for name in ("always", "kept", "tuned")] == [1, 1, 1]
