"""What is kept between processes, in a cache folder that may be damaged, read-only or missing."""

import os
from pathlib import Path

import pytest

from mergershift.core import kept as module
from mergershift.core.kept import kept


class Computed:
    """A computation that counts how often it has been made."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> bytes:
        self.times += 1
        return b"machine code"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "user_cache_path", lambda *_, **__: tmp_path / "cache")
    return tmp_path / "cache"


def test_is_computed_once_for_the_same_arguments(folder: Path) -> None:
    compute = Computed()
    assert [kept(["code", "cpu"], compute) for _ in range(3)] == [b"machine code"] * 3
    assert compute.times == 1
    for other in (["code", "another"], ["codecpu"], ["code\0", "cpu"]):
        kept(other, compute)
    assert compute.times == 4


@pytest.mark.parametrize("damage", [b"", b"short", b"x" * 32 + b"machine code"])
def test_a_damaged_file_is_replaced(folder: Path, damage: bytes) -> None:
    kept(["code"], Computed())
    (file,) = folder.iterdir()
    file.write_bytes(damage)
    compute = Computed()
    assert kept(["code"], compute) == b"machine code"
    assert kept(["code"], compute) == b"machine code"
    assert compute.times == 1


def test_a_user_without_a_home_folder_computes_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)
    monkeypatch.chdir(tmp_path)
    compute = Computed()
    assert [kept(["code"], compute) for _ in range(2)] == [b"machine code"] * 2
    assert compute.times == 2
    assert not any(tmp_path.iterdir())


def test_without_a_folder_to_write_to_it_is_computed_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    for place in (tmp_path / "file" / "cache", Path("~/.cache/mergershift")):
        monkeypatch.setattr(module, "user_cache_path", lambda *_, place=place, **__: place)
        compute = Computed()
        assert [kept(["code"], compute) for _ in range(2)] == [b"machine code"] * 2
        assert compute.times == 2
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
