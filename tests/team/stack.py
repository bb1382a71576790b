"""A team's server as `make server` starts it, from a checkout of its own.

Where the official images of PostgreSQL, SeaweedFS and Caddy have not been pulled, stand-ins take their place
(tests/team/parts): the same programs, but other versions and other entry points. They show that docker/compose.yaml
connects them rightly, not that the official images start.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from checkouts import CHECKOUT
from team.docker import Docker, lacking

PARTS = {"POSTGRES_IMAGE": "postgres", "SEAWEEDFS_IMAGE": "seaweedfs", "CADDY_IMAGE": "caddy"}
WEED = Path(sys.executable).parent / "weed"
NEEDED = ("Makefile", "pyproject.toml", "requirements.lock", "README.md", "LICENSE", ".dockerignore")
PORTS = (
    "SERVER_PORT",
    "DASHBOARD_PORT",
    "HTTP_PORT",
    "HTTPS_PORT",
    "DASHBOARD_HTTPS_PORT",
    "DATABASE_PORT",
)


class Stack:
    """The server of a checkout.

    Attributes:
        folder: The checkout.
        environment: Variables of `make` and docker, with the images to use and a project name of its own.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder, self.environment = folder, dict(environment)
        for name in NEEDED:
            shutil.copy(CHECKOUT / name, folder / name)
        for name in ("docker", "src"):
            skipped = shutil.ignore_patterns("__pycache__", "*.egg-info", ".env", "ca.crt")
            shutil.copytree(CHECKOUT / name, folder / name, ignore=skipped)

    def make(self, target: str, *variables: str, timeout: float = 400) -> subprocess.CompletedProcess[str]:
        """Run a target of the Makefile, whatever comes of it."""
        return subprocess.run(
            ["make", "--no-print-directory", target, *variables],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )

    def done(self, target: str, *variables: str) -> str:
        """What a target prints; it has to succeed."""
        made = self.make(target, *variables)
        assert made.returncode == 0, f"{made.stdout}{made.stderr[-4000:]}\n{self.logs()}"
        return made.stdout

    def refused(self, target: str, *variables: str) -> str:
        """What a target says that has to fail, in a few lines."""
        made = self.make(target, *variables)
        assert made.returncode != 0, made.stdout
        lines = [line for line in (made.stdout + made.stderr).splitlines() if not line.startswith("make:")]
        assert len(lines) <= 3, lines
        return "\n".join(lines)

    def compose(self, *arguments: str) -> str:
        """What a command of compose prints; it has to succeed."""
        command = ["docker", "compose", "--file=docker/compose.yaml", "--env-file=docker/.env", *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def logs(self) -> str:
        """The last lines of every service."""
        try:
            return self.compose("logs", "--tail=15")
        except AssertionError as error:
            return str(error)

    def init(self, *variables: str) -> None:
        """Write the settings, with ports that are free."""
        self.done("server-init", *variables)
        self.change(**dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True)))

    def change(self, **settings: str) -> None:
        """Change settings."""
        file = self.folder / "docker/.env"
        text = file.read_text()
        for name, value in settings.items():
            text, changed = re.subn(rf"(?m)^{name}=.*$", f"{name}={value}", text)
            assert changed == 1, name
        file.write_text(text)

    @property
    def settings(self) -> dict[str, str]:
        """The settings, passwords among them."""
        lines = (self.folder / "docker/.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))

    @property
    def address(self) -> str:
        """Address of MLflow."""
        settings = self.settings
        if settings["TLS_USED"]:
            return f"https://{settings['SERVER_NAME']}:{settings['HTTPS_PORT']}"
        return f"http://{settings['SERVER_NAME']}:{settings['SERVER_PORT']}"

    @property
    def searches(self) -> str:
        """Address of Optuna's database, as workers on other machines use it."""
        settings = self.settings
        password, port = settings["OPTUNA_DATABASE_PASSWORD"], settings["DATABASE_PORT"]
        return f"postgresql+psycopg://optuna:{password}@127.0.0.1:{port}/optuna"

    def containers(self) -> list[dict[str, Any]]:
        """All containers, as the engine describes them."""
        names = self.compose("ps", "--all", "--quiet").split()
        inspected = subprocess.run(
            ["docker", "inspect", *names], env=self.environment, capture_output=True, check=True
        )
        found: list[dict[str, Any]] = json.loads(inspected.stdout)
        return found

    def volumes(self) -> set[str]:
        """Names of the server's volumes in compose.yaml, those that exist."""
        project = self.environment["COMPOSE_PROJECT_NAME"]
        label = "com.docker.compose"
        command = ["docker", "volume", "ls", f"--filter=label={label}.project={project}"]
        shown = subprocess.run(
            [*command, f'--format={{{{.Label "{label}.volume"}}}}'],
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return set(shown.stdout.split())

    def destroy(self) -> None:
        """Remove all containers, networks and volumes."""
        self.compose("--profile=*", "down", "--volumes", "--remove-orphans", "--timeout=3")


@contextmanager
def stack(docker: Docker, folder: Path) -> Iterator[Stack]:
    """A server of its own on this machine, without settings yet; in the end nothing of it is left but its images."""
    project = f"mergershift-test-{os.getpid()}"
    environment = docker.environment | _images(docker, folder)
    environment |= {"COMPOSE_PROJECT_NAME": project, "BUILD_NETWORK": "host", "MLFLOW_WORKERS": "1"}
    checkout = folder / "checkout"
    checkout.mkdir()
    made = Stack(checkout, environment)
    try:
        yield made
    finally:
        if (made.folder / "docker/.env").exists():
            made.destroy()


def _images(docker: Docker, folder: Path) -> dict[str, str]:
    """The images that compose.yaml shall use: the official ones that have been pulled, stand-ins for the others."""
    base = docker.python_base()
    images = {"PYTHON_IMAGE": base, "SERVER_IMAGE": "mergershift-tests/server"}
    text = (CHECKOUT / "docker/compose.yaml").read_text()
    declared = {name: re.findall(rf"\${{{name}:-([^}}]+)}}", text)[0] for name in PARTS}
    missing = [name for name in PARTS if not docker.has_image(declared[name])]
    if missing and not (shutil.which("apt-get") and WEED.exists()):
        shown = ", ".join(declared[name] for name in missing)
        lacking(f"{shown} have not been pulled, and stand-ins need Debian and tests/team/requirements.lock")
    images |= {name: f"mergershift-tests/{PARTS[name]}" for name in missing}
    # One waits for packages while the other unpacks; `make server` then finds the steps of its own build done.
    with ThreadPoolExecutor() as pool:
        own = pool.submit(docker.build, "server.Dockerfile", images["SERVER_IMAGE"])
        _stand_ins(docker, folder / "parts", base, [PARTS[name] for name in missing])
        own.result()
    return images


def _stand_ins(docker: Docker, folder: Path, base: str, names: list[str]) -> None:
    """Build what stands in for official images."""
    shutil.copytree(CHECKOUT / "tests/team/parts", folder)
    shutil.copy(WEED, folder / "weed")
    for name in names:
        options = ["--network=host", f"--target={name}", f"--build-arg=PYTHON_IMAGE={base}"]
        docker.run("build", *options, f"--tag=mergershift-tests/{name}", str(folder), timeout=400)


def free_ports(number: int) -> list[int]:
    """Ports of the loopback interface that nothing listens on."""
    probes = [socket.socket() for _ in range(number)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()
