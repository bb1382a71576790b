"""A stand-in for the official Python image, made of the host's own Debian release where no image can be pulled.

`pip install` and `apt-get install` reach their registries in it as they do on the host: pip's and apt's settings and
the certificate authorities are those of the host at the time of the test. Debian's Python is not the official image's:
the stand-in shows that our Dockerfiles work, not that the official image does.
"""

from __future__ import annotations

import ast
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
AUTHORITIES = Path("/usr/local/share/ca-certificates")
PACKAGES = "ca-certificates,python3,python3-pip,python3-venv"
# pip's options that say how registries are reached, and those of them that name files or folders
REACHING = (
    *("cert", "client-cert", "constraint", "default-timeout", "extra-index-url", "find-links", "index-url"),
    *("no-index", "proxy", "retries", "timeout", "trusted-host"),
)
LOCAL = ("cert", "client-cert", "constraint", "find-links")


def stand_in(environment: Mapping[str, str]) -> str:
    """Reference of the stand-in, which is made once for a release and its settings, in about a minute."""
    settings = {"etc/pip.conf": _pip_settings(), "etc/uv/uv.toml": _uv_settings(), **_apt_settings()}
    release = _release()
    copied = [(str(path), path.stat().st_mtime_ns) for path in _copied()]
    recipe = repr((release, PACKAGES, sorted(settings.items()), copied))
    reference = f"mergershift-tests/python:{release}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    inspected = subprocess.run(
        ["docker", "image", "inspect", reference], capture_output=True, env=environment
    )
    if inspected.returncode == 0:
        return reference
    with tempfile.TemporaryDirectory(prefix="stand-in-") as folder:
        root = Path(folder) / "root"
        _make_root(root, release)
        for name, text in settings.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        for path in _copied():
            _copy(path, root)
        _import(root, reference, environment)
    return reference


def _make_root(root: Path, release: str) -> None:
    mirror = [address for address, suite, _ in _sources() if suite == release][:1]
    command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", release, str(root), *mirror]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {(done.stdout + done.stderr)[-3000:]}"
    shutil.rmtree(root / "var/cache/apt/archives", ignore_errors=True)
    # like the official image, which is nobody's system: pip may install, and `python` is there
    for marker in root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
        marker.unlink()
    (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")


def _import(root: Path, reference: str, environment: Mapping[str, str]) -> None:
    changes = [
        "--change=ENV LANG=C.UTF-8",
        '--change=CMD ["python3"]',
        "--change=LABEL mergershift.stand-in=true",
    ]
    with subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE) as packed:
        subprocess.run(
            ["docker", "import", *changes, "-", reference],
            stdin=packed.stdout,
            stdout=subprocess.DEVNULL,
            env=environment,
            check=True,
        )
    assert packed.returncode == 0


def _release() -> str:
    for line in Path("/etc/os-release").read_text().splitlines():
        name, _, value = line.partition("=")
        if name == "VERSION_CODENAME":
            return value.strip('"')
    raise AssertionError("/etc/os-release names no release that debootstrap could make")


def _sources() -> list[tuple[str, str, str]]:
    """Address, suite and component of the host's own release, as apt reads them from whatever files list them."""
    columns = "$(REPO_URI) $(RELEASE) $(COMPONENT)"
    command = ["apt-get", "indextargets", "--format", columns, "Created-By: Packages"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    sources = [(fields[0], fields[1], fields[2]) for fields in map(str.split, lines) if len(fields) == 3]
    return [source for source in sources if source[1].split("-")[0] == _release()]


def _apt_settings() -> dict[str, str]:
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
    kept = [line for line in dump.splitlines() if line.startswith("Acquire::") and "IndexTargets" not in line]
    sources = [f"deb {address} {suite} {component}" for address, suite, component in _sources()]
    files = {"etc/apt/apt.conf.d/90host": "\n".join(kept) + "\n"}
    return files | {"etc/apt/sources.list": "\n".join(sources) + "\n"} if sources else files


def _pip_options() -> dict[str, str]:
    """The options by which pip on the host reaches its registries, from its files and, before those, variables."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    options = {}
    for line in sorted(lines, key=lambda line: line.startswith(":env:")):
        name, _, quoted = line.partition("=")
        option = name.rpartition(".")[2]
        if option in REACHING:
            options[option] = str(ast.literal_eval(quoted))
    for option in ("index-url", "extra-index-url"):
        # an index in a folder can be of any size; what it holds is on the others too
        remote = [address for address in options.pop(option, "").split() if not address.startswith("file:")]
        if remote:
            options[option] = " ".join(remote)
    return options


def _pip_settings() -> str:
    lines = [f"{option} = {value}" for option, value in sorted(_pip_options().items())]
    return "\n".join(["[global]", *lines, ""])


def _uv_settings() -> str:
    """What uv, which reads neither pip's settings nor OpenSSL's, has to know of them."""
    options = _pip_options()
    lines = ["system-certs = true"]
    lines += [f"find-links = {json.dumps(options['find-links'].split())}"] if "find-links" in options else []
    lines += [f"index-url = {json.dumps(options['index-url'])}"] if "index-url" in options else []
    further = options.get("extra-index-url", "").split()
    lines += [f"extra-index-url = {json.dumps(further)}"] if further else []
    return "\n".join([*lines, ""])


def _copied() -> list[Path]:
    """The host's files and folders that the settings name, and its certificate authorities."""
    named = [value for option, value in _pip_options().items() if option in LOCAL]
    paths = [Path(name.removeprefix("file://")) for value in named for name in value.split()]
    return sorted(
        {path for path in [*paths, CERTIFICATES, AUTHORITIES] if path.is_absolute() and path.exists()}
    )


def _copy(path: Path, root: Path) -> None:
    there = root / path.relative_to("/")
    there.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.copytree(path, there, dirs_exist_ok=True)
    else:
        shutil.copyfile(path, there)
