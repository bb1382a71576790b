"""The image of docker/Dockerfile, built and run as clusters do: any user id, a read-only root, killed and stopped.

Where the official Python image cannot be pulled, the image is built from a stand-in (see `team.stand_in`). That shows
that our Dockerfile works, not that the official image does.
"""

from __future__ import annotations

import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from checkouts import copy
from studies import EPOCHS, cell_of, checkpoint, leave_page_out, runs, steps, write_study
from team.docker import CHECKOUT, Docker

pytestmark = pytest.mark.team
IMAGE = "mergershift-tests/worker"
OWNER, USER, GROUP = 54001, 54002, 54003  # ids without a name, in the image and here
CELL = "source_only"
LONGER = 6
LOCKED_DOWN = (
    "--read-only",
    "--tmpfs=/tmp:rw,mode=1777",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
)


@pytest.fixture(scope="module")
def image(docker: Docker) -> str:
    docker.build("Dockerfile", IMAGE, **_reachable_torch())
    return IMAGE


def _reachable_torch() -> dict[str, str]:
    """PyTorch's own index, or where that cannot be reached the one that pip uses: what the Makefile does too."""
    lines = (CHECKOUT / "docker/Dockerfile").read_text().splitlines()
    declared = next(line for line in lines if line.startswith("ARG TORCH=")).split("=", 1)[1].strip('"')
    requirement, _, index = declared.split()
    try:
        urllib.request.urlopen(f"{index}/torch/", timeout=10).close()
    except OSError:
        return {"TORCH": requirement}
    return {}


@pytest.fixture
def shared_project(committed: Path, sample: Path, docker: Docker) -> Iterator[Path]:
    """A checkout that belongs to somebody else, in a group that may write; not below a folder of root's alone."""
    folder = Path(subprocess.check_output(["mktemp", "-d", "/tmp/worker-image.XXXXXX"], text=True).strip())
    project = folder / "project"
    copy(committed, project)
    copy(sample, project / "data")
    write_study(project, CELL)
    leave_page_out(project)
    demo = project / "conf/training/demo.yaml"
    demo.write_text(demo.read_text().replace(f"epochs: {EPOCHS}", f"epochs: {LONGER}"))
    mine = "find /p -type d -exec chmod 2775 {} + && chmod -R g+rwX /p && "
    inside = ["run", "--rm", "--user=0", f"--volume={project}:/p", "--entrypoint=sh", IMAGE, "-c"]
    docker.run(*inside, f"{mine} chown -R {OWNER}:{GROUP} /p")
    yield project
    docker.run(*inside, "find /p -mindepth 1 -delete")
    subprocess.run(["rm", "-rf", folder], check=True)


@contextmanager
def container(docker: Docker, project: Path, *arguments: str) -> Iterator[str]:
    """A container that runs a command on the project in the background, under a user id of its own."""
    name = f"mergershift-tests-{uuid4().hex[:8]}"
    options = [f"--name={name}", f"--user={USER}:{GROUP}", f"--volume={project}:/project", *LOCKED_DOWN]
    docker.run("run", "--detach", *options, IMAGE, *arguments)
    try:
        yield name
    finally:
        docker.attempt("rm", "--force", name)


def state(docker: Docker, name: str) -> tuple[bool, int]:
    """Whether a container runs, and its exit code."""
    running, code = docker.run("inspect", "--format={{.State.Running}} {{.State.ExitCode}}", name).split()
    return running == "true", int(code)


def logs(docker: Docker, name: str) -> str:
    done = docker.attempt("logs", name)
    return (done.stdout + done.stderr)[-4000:]


def wait_for(docker: Docker, name: str, paths: list[Path]) -> None:
    """Wait until all of the files are there, while the container runs."""
    deadline = time.monotonic() + 300
    while not all(path.exists() for path in paths):
        running, _ = state(docker, name)
        assert running, logs(docker, name)
        assert time.monotonic() < deadline, logs(docker, name)
        time.sleep(0.3)


def inside(docker: Docker, *command: str, project: Path | None = None) -> str:
    """What a command prints in a container of the image that is made for it."""
    volume = [f"--volume={project}:/project"] if project else []
    user = [f"--user={USER}:{GROUP}"] if project else []
    entry, *arguments = command
    return docker.run("run", "--rm", *user, *volume, *LOCKED_DOWN, f"--entrypoint={entry}", IMAGE, *arguments)


def test_the_image_serves_any_user_and_holds_nothing_that_it_need_not(docker, image, shared_project):
    assert docker.run("run", "--rm", *LOCKED_DOWN, image).startswith("Usage: mergershift")
    where = ("python", "-c", "import getpass, mergershift; print(getpass.getuser(), mergershift.__file__)")
    assert inside(docker, *where) == "mergershift /opt/mergershift/src/mergershift/__init__.py"
    assert (
        inside(docker, *where, project=shared_project) == "mergershift /project/src/mergershift/__init__.py"
    )
    assert inside(docker, "id", "-u") == "1000"
    assert inside(docker, "git", "rev-parse", "--show-toplevel", project=shared_project) == "/project"
    listed = inside(docker, "find", "/opt/mergershift", "-maxdepth", "1", "-printf", "%f\n").split()
    expected = "mergershift LICENSE README.md pyproject.toml src venv worker.lock"
    assert sorted(listed) == sorted(expected.split())
    unwritten = inside(docker, "find", "/opt/mergershift", "-writable", "-not", "-type", "l")
    assert unwritten == "", "nobody can change the code of an image that others run too"
    stale = "import torch._dynamo, mergershift.cli.main, sys; print(torch.__file__, torch.__version__)"
    assert "/opt/mergershift/venv/" in inside(docker, "python", "-c", stale)


def test_a_training_survives_the_end_of_its_container(docker, image, shared_project):
    """Stopped in mid-training, which runs in a worktree, and finished by the next container, in the checkout itself."""
    with container(docker, shared_project, "repro", "--jobs", "2") as name:
        wait_for(docker, name, [checkpoint(shared_project, CELL)])
        began = time.monotonic()
        docker.run("stop", "-t", "60", name)
        assert time.monotonic() - began < 30, "Kubernetes kills after 30 s"
        assert state(docker, name) == (False, 143), logs(docker, name)
        assert "Interrupted. Run the same command again to resume." in logs(docker, name)
    evaluation = cell_of(shared_project, CELL) / "evaluation"
    assert not evaluation.exists()
    with container(docker, shared_project, "repro") as name:
        assert docker.run("wait", name) == "0", logs(docker, name)
        assert "Transfer on images" in logs(docker, name)
    trained = [steps(shared_project, run) for run in runs(shared_project)]
    epochs = [found for found in trained if found]  # the study's own run has none
    assert epochs == [list(range(LONGER))], "one run, no epoch lost or doubled"
    assert (evaluation / "metrics.json").stat().st_uid == USER
