"""The commands that `make` would run on different kinds of machines, as listed by `make -n`."""

import http.server
import os
import shutil
import subprocess
import sys
import threading
import venv
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
VERSION = "torch==2.13.0"


@pytest.fixture
def index():
    """Address of a package index that answers."""

    class Quiet(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/whl/cpu"
    server.shutdown()


def torch_line(tmp_path: Path, *arguments: str, system: str = "Linux", nvidia: bool = False) -> str:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "uname").write_text(f"#!/bin/sh\necho {system}\n")
    if nvidia:
        (tools / "nvidia-smi").write_text("#!/bin/sh\n")
    for tool in tools.iterdir():
        tool.chmod(0o755)
    command = ["make", "-n", "demo", f"VENV={tmp_path}/venv", *arguments]
    path = f"{tools}:/usr/local/bin:/usr/bin:/bin"
    done = subprocess.run(
        command, cwd=CHECKOUT, capture_output=True, text=True, env={"PATH": path}, check=True
    )
    (line,) = [line for line in done.stdout.splitlines() if "INSTALL_CODE" in line and "torch==" in line]
    return line.partition('"$INSTALL_CODE" ')[2]


def test_linux_without_a_driver_uses_the_cpu_index(tmp_path, index):
    assert torch_line(tmp_path, f"CPU_INDEX={index}") == f"{VERSION} --index-url {index}"


def test_linux_without_a_driver_uses_the_plain_package_if_that_index_does_not_answer(tmp_path):
    assert torch_line(tmp_path, "CPU_INDEX=http://127.0.0.1:9/whl/cpu") == VERSION


def test_linux_with_a_driver_uses_the_plain_package(tmp_path, index):
    assert torch_line(tmp_path, f"CPU_INDEX={index}", nvidia=True) == VERSION


def test_macos_uses_the_plain_package(tmp_path, index):
    assert torch_line(tmp_path, f"CPU_INDEX={index}", system="Darwin") == VERSION


def test_the_torch_requirement_can_be_overridden(tmp_path):
    assert torch_line(tmp_path, "TORCH=torch==2.9.1 --pre") == "torch==2.9.1 --pre"


def test_the_makefile_and_the_lock_use_the_same_torch_version():
    text = (CHECKOUT / "pyproject.toml").read_text()
    assert f'constraint-dependencies = ["{VERSION}", ' in text
    assert VERSION.replace("torch==", "TORCH_VERSION := ") in (CHECKOUT / "Makefile").read_text()


def test_the_lock_contains_no_cuda_packages():
    names = [
        line.split("==")[0]
        for line in (CHECKOUT / "requirements.lock").read_text().splitlines()
        if "==" in line
    ]
    assert len(names) > 100
    assert not [name for name in names if name.startswith(("nvidia", "triton", "torch=", "cuda"))]


def install_commands(
    tmp_path: Path, place: str, *arguments: str, torch: str = "", venv: str = ".venv"
) -> str:
    """What `make install` would run in a checkout, given an up-to-date environment that was made in `place`.

    The environment has the Python that runs the tests, and records `torch` unless that is empty.
    """
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy2(CHECKOUT / name, tmp_path / name)
    environment = tmp_path / venv
    (environment / "bin").mkdir(parents=True)
    (environment / "bin" / "python").symlink_to(sys.executable)
    (environment / "installed").write_text(f"{place}\n{torch}\n" if torch else f"{place}\n")
    command = ["make", "-n", "install", f"VENV={venv}", *arguments]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("place", ["/old/place", "/ünï cödé #1 100% ok?"])
def test_an_environment_of_another_place_is_made_anew(tmp_path, place):
    commands = install_commands(tmp_path, place)
    check = commands.index("sys.version_info")
    assert check < commands.index('rm -rf ".venv"') < commands.index("--editable ")


@pytest.mark.parametrize(
    "arguments", [[], ["TORCH=torch==2.9"], [f"PYTHON={sys.executable}"], ["TORCH=torch==2.9 "]]
)
def test_an_environment_of_this_place_is_kept(tmp_path, arguments):
    commands = install_commands(tmp_path, str(tmp_path.resolve()), *arguments, torch="torch==2.9")
    assert "rm -rf" not in commands
    assert "--editable" not in commands


@pytest.mark.parametrize(
    ("torch", "argument", "why"),
    [
        ("torch==2.9", "TORCH=torch==2.10", "made with another TORCH="),
        ("", "TORCH=torch==2.10", "does not record"),
        ("torch==2.9", "PYTHON={other}", "made with another Python"),
    ],
)
def test_an_environment_of_another_python_or_torch_is_made_anew(tmp_path, torch, argument, why):
    other = tmp_path / "python9"
    other.write_text("#!/bin/sh\necho 9.9\n")
    other.chmod(0o755)
    commands = install_commands(tmp_path, str(tmp_path), argument.format(other=other), torch=torch)
    assert f"{why} " in commands
    assert commands.index('rm -rf ".venv"') < commands.index("--editable ")


@pytest.fixture
def installer(tmp_path):
    """A call of what installs packages, in an environment with a uv that prints what it was given and ends as told."""
    venv.create(tmp_path / "venv", with_pip=True, symlinks=True)
    uv = tmp_path / "venv/bin/uv"
    uv.write_text(
        '#!/bin/sh\nenv | grep "^UV_" | sort\npwd\necho "uv $*"\necho " + noise==1" >&2\nexit $END\n'
    )
    uv.chmod(0o755)
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://mirror.example/simple\nfind-links =\n    /first\n    /second\n"
        "[install]\nextra-index-url = https://one.example https://two.example\n"
    )
    code = (CHECKOUT / "Makefile").read_text().partition("define INSTALL_CODE\n")[2].partition("endef\n")[0]

    def run(*arguments, end=0, **variables):
        environment = {
            "PATH": "/usr/bin:/bin",
            "PIP_CONFIG_FILE": str(tmp_path / "pip.conf"),
            "END": str(end),
            **variables,
        }
        command = [str(tmp_path / "venv/bin/python"), "-c", code, *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    return run


def test_uv_installs_from_the_places_that_pip_is_configured_with(installer):
    done = installer("--no-deps", "some package")
    assert done.returncode == 0, done.stderr
    found = done.stdout.splitlines()
    assert found[:4] == [
        "UV_EXTRA_INDEX_URL=https://one.example https://two.example",
        "UV_FIND_LINKS=/first,/second",
        "UV_INDEX_STRATEGY=unsafe-best-match",
        "UV_INDEX_URL=https://mirror.example/simple",
    ]
    # Where no pyproject.toml adds constraints.
    assert found[4] == "/"
    assert found[5].startswith("uv pip install --python ")
    assert found[5].endswith("/venv/bin/python --no-deps some package")
    assert "noise" not in done.stdout + done.stderr


def test_pips_variables_count_more_than_its_files_and_arguments_more_than_both(installer):
    done = installer("torch", "--index-url", "https://cpu.example", PIP_INDEX_URL="https://variable.example")
    assert "UV_INDEX_URL=https://variable.example" in done.stdout
    done = installer(
        "torch", "--index-url", "https://cpu.example", UV_DEFAULT_INDEX="https://ignored.example"
    )
    assert "UV_DEFAULT_INDEX" not in done.stdout
    assert "torch --index-url https://cpu.example" in done.stdout


def test_pip_installs_where_uv_fails(installer):
    done = installer("--dry-run", "--no-index", "a-package-that-does-not-exist", end=2)
    assert "uv has failed; pip takes its place" in done.stdout
    assert "No matching distribution found for a-package-that-does-not-exist" in done.stderr
    assert done.returncode == 1


@pytest.mark.parametrize("torch", ["", "torch==2.9"])
def test_an_environment_elsewhere_is_never_deleted(tmp_path, torch):
    commands = install_commands(
        tmp_path, "/old/place", "TORCH=torch==2.10", torch=torch, venv=f"{tmp_path}/shared"
    )
    assert "rm -rf" not in commands
    assert ("Delete it or choose another VENV=" in commands) == bool(torch)


@pytest.mark.parametrize(
    ("python", "expected"),
    [("python3.99", "cannot be run"), ("./shim", "cannot be run"), ("./old", "is older than Python 3.11")],
)
def test_a_python_that_is_missing_or_too_old_is_named(tmp_path, python, expected):
    shutil.copy2(CHECKOUT / "Makefile", tmp_path / "Makefile")
    (tmp_path / "requirements.lock").touch()
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "old").write_text('#!/bin/sh\ntest -z "$2"\n')  # fails to confirm that it is new enough
    (tmp_path / "shim").write_text("#!/bin/sh\nexit 127\n")
    for program in ("old", "shim"):
        (tmp_path / program).chmod(0o755)
    done = subprocess.run(
        # Called by another make, for instance that of `make test`, make names the folder first.
        ["make", "--no-print-directory", "install", f"PYTHON={python}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode
    assert done.stdout.startswith(f"{python}")
    assert expected in done.stdout
    assert not (tmp_path / ".venv").exists()


def test_an_environment_under_a_path_with_a_percent_sign_is_refused(tmp_path):
    checkout = tmp_path / "100% #1"
    checkout.mkdir()
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy2(CHECKOUT / name, checkout / name)
    done = subprocess.run(["make", "install"], cwd=checkout, capture_output=True, text=True)
    assert done.returncode
    assert "make VENV=" in done.stdout
    assert not (checkout / ".venv").exists()


def test_commands_compile_their_modules_once_whatever_the_environment_forbids():
    """With PYTHONDONTWRITEBYTECODE, every command would compile what it imports anew."""
    forbidden = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    command = ["make", "--eval", "variables: ; @env", "variables"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, env=forbidden, check=True)
    assert "PATH=" in done.stdout
    assert "PYTHONDONTWRITEBYTECODE" not in done.stdout
