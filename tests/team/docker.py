"""Docker for the tests: an engine, its compose plugin and a base image to build ours from, also on a bare machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest
from team.stand_in import stand_in

CHECKOUT = Path(__file__).parents[2]
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


def lacking(reason: str) -> NoReturn:
    """Skip the test for want of a real part; where all are required, fail it."""
    if os.environ.get("MERGERSHIFT_REQUIRE_TEAM") == "1":
        pytest.fail(f"MERGERSHIFT_REQUIRE_TEAM=1, but {reason}")
    pytest.skip(reason)


class Docker:
    """The command line of an engine that answers.

    Attributes:
        environment: Variables of a process that shall find the engine and the compose plugin.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)

    def run(self, *arguments: str, timeout: float = 300, **variables: str) -> str:
        """What a docker command prints; it has to succeed."""
        done = self.attempt(*arguments, timeout=timeout, **variables)
        said = (done.stdout + done.stderr)[-6000:]
        assert done.returncode == 0, f"docker {' '.join(arguments)}: {said}"
        return done.stdout.strip()

    def attempt(
        self, *arguments: str, timeout: float = 300, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a docker command, whatever comes of it."""
        return subprocess.run(
            ["docker", *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            env=self.environment | variables,
        )

    def has_image(self, reference: str) -> bool:
        """Whether the engine has an image of this name."""
        return self.attempt("image", "inspect", reference).returncode == 0

    def python_base(self) -> str:
        """The image to build ours from: the official one if it has been pulled, or else a stand-in for it.

        A stand-in tests our Dockerfile, not the official image. It keeps a name of its own, so that nobody builds on
        it by accident; hand it to the build as the argument PYTHON_IMAGE.
        """
        official = declared_base(CHECKOUT / "docker/Dockerfile")
        if self.has_image(official):
            return official
        if os.geteuid() != 0 or not shutil.which("debootstrap"):
            lacking(
                f"the image {official} is not there (docker pull {official}); to make a stand-in, "
                "run as root where debootstrap is installed"
            )
        return stand_in(self.environment)

    def build(self, dockerfile: str, tag: str, **arguments: str) -> None:
        """Build an image of the project from `python_base`; with the host's network, where the registries are."""
        arguments = {"PYTHON_IMAGE": self.python_base()} | arguments
        options = [f"--build-arg={name}={value}" for name, value in arguments.items()]
        options += [f"--build-arg={name}" for name in os.environ if name.upper() in PROXIES]
        command = ["build", "--network=host", f"--file={CHECKOUT / 'docker' / dockerfile}", f"--tag={tag}"]
        self.run(*command, *options, str(CHECKOUT), timeout=600)


def declared_base(dockerfile: Path) -> str:
    """The image that a Dockerfile of the project is built from unless its argument PYTHON_IMAGE names another."""
    for line in dockerfile.read_text().splitlines():
        if line.startswith("ARG PYTHON_IMAGE="):
            return line.split("=", 1)[1].strip()
    raise AssertionError(f"{dockerfile} declares no PYTHON_IMAGE")


@contextmanager
def docker_engine(folder: Path) -> Iterator[Docker]:
    """Find the engine or, as root, start one, which is stopped in the end; skips the test where neither is possible.

    Args:
        folder: A new folder, for the engine's log and the client's configuration.
    """
    if not shutil.which("docker"):
        lacking("Docker is not installed")
    endpoint = subprocess.run(
        ["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"],
        capture_output=True,
        text=True,
    ).stdout.strip()
    environment = dict(os.environ)
    if endpoint:
        environment.setdefault("DOCKER_HOST", endpoint)
    # a configuration of our own has the compose plugin that the lock names, and no one's context
    plugins = folder / "config/cli-plugins"
    plugins.mkdir(parents=True)
    (plugins / "docker-compose").symlink_to(Path(sys.executable).parent / "docker-compose")
    environment |= {"DOCKER_CONFIG": str(plugins.parent)}
    environment.pop("DOCKER_CONTEXT", None)
    docker = Docker(environment)
    if _answers(docker):
        yield docker
    elif os.environ.get("DOCKER_HOST") or os.geteuid() != 0 or not shutil.which("dockerd"):
        lacking("no Docker engine answers, and none can be started (that takes root and dockerd)")
    else:
        with _started(docker, folder / "dockerd.log"):
            yield docker


@contextmanager
def _started(docker: Docker, log: Path) -> Iterator[None]:
    with log.open("w") as file:
        engine = subprocess.Popen(["dockerd"], stdout=file, stderr=file, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while not _answers(docker):
            if engine.poll() is not None or time.monotonic() > deadline:
                lacking(f"dockerd does not start: {log.read_text()[-1500:]}")
            time.sleep(0.2)
        yield
    finally:
        engine.terminate()
        try:
            engine.wait(timeout=60)
        except subprocess.TimeoutExpired:
            engine.kill()
            engine.wait()


def _answers(docker: Docker) -> bool:
    return docker.attempt("version", "--format", "{{.Server.Version}}").returncode == 0
