"""The login in MLflow's own file, as MLflow reads it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from mlflow.utils.credentials import read_mlflow_creds

from mergershift.core.errors import UserError
from mergershift.tracking import login


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (login.USER, login.PASSWORD):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("password", ["plain", "100 % %(home)s", "a=b: #c;'\"", "Ärger"])
def test_mlflow_reads_what_was_stored(home: Path, password: str) -> None:
    known = login.Login("ana@example.org", password)
    os.umask(before := os.umask(0))
    assert login.store(known)
    assert login.from_file() == known
    assert read_mlflow_creds() == ("ana@example.org", password)
    assert login.credentials_file().stat().st_mode & 0o777 == 0o600
    assert os.umask(before) == before
    assert not login.store(known), "nothing is left to write"
    assert password not in repr(known)


def test_what_else_is_in_the_file_stays(home: Path) -> None:
    path = login.credentials_file()
    path.parent.mkdir()
    path.write_text("[mlflow]\nmlflow_tracking_username = old\nother = 5 %\n[more]\nkey = value\n")
    assert login.store(login.Login("ana", "new"))
    assert "other = 5 %" in path.read_text()
    assert "[more]" in path.read_text()
    assert login.from_file() == login.Login("ana", "new")


@pytest.mark.parametrize("password", [" blank", "two\nlines"])
def test_what_the_file_cannot_hold_is_refused(home: Path, password: str) -> None:
    with pytest.raises(UserError, match="cannot hold"):
        login.store(login.Login("ana", password))
    assert not login.credentials_file().exists()


def test_a_file_that_is_none_of_mlflows_is_refused(home: Path) -> None:
    login.credentials_file().parent.mkdir()
    login.credentials_file().write_text("user: ana\n")
    with pytest.raises(UserError, match="not a file that MLflow can read"):
        login.from_file()
