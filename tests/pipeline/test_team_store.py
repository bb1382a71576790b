"""What `team init` writes where, what it refuses, and what its checks find in folders."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.config import Config

from mergershift.cli.main import main
from mergershift.config import compose
from mergershift.core.errors import UserError
from mergershift.pipeline.team import Wish, check, init
from mergershift.pipeline.team_cache import check_cache, use_cache
from mergershift.pipeline.team_check import Check, checking
from mergershift.pipeline.team_round_trip import check_store
from mergershift.pipeline.team_store import Store, parse_store, read_store, write_store
from mergershift.pipeline.team_tracking import parse_address, read_address, write_address

ENDPOINT = "https://s3.example.org"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    return folder


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    folder = tmp_path / "shared"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("address", "endpoint", "message"),
    [
        ("store", None, "a teammate's checkout lies elsewhere"),
        ("gs://bucket", None, "expected s3://BUCKET/PATH"),
        ("s3:///path", None, "expected s3://BUCKET/PATH"),
        ("ssh://host", None, "expected s3://BUCKET/PATH"),
        ("s3://key:word@bucket/path", None, "visible to everybody"),
        ("ssh://ana:word@host/path", None, "visible to everybody"),
        ("s3://bucket", "s3.example.org", "expected the address of an S3 server"),
        ("s3://bucket", "https://key:word@s3.example.org", "expected the address of an S3 server"),
        ("/shared", ENDPOINT, "is for a remote in S3"),
    ],
)
def test_an_address_that_makes_no_sense_is_refused_in_two_lines(
    tmp_path: Path, address: str, endpoint: str | None, message: str
) -> None:
    with pytest.raises(UserError, match=message) as error:
        parse_store(address, endpoint, tmp_path)
    assert str(error.value).count("\n") == 1
    assert "word@" not in str(error.value)


def test_what_is_shared_is_tracked_and_what_is_ones_own_is_not(project: Path) -> None:
    shared, own = parse_store("ssh://ana@host:2222/store/", None, project)
    assert shared == {"url": "ssh://host:2222/store"}
    store = Store("team", shared, own | {"password": "a secret of ana"})
    assert write_store(project, store, None) == [".dvc/config", ".dvc/config.local"]
    assert read_store(project) == store
    assert write_store(project, store, read_store(project)) == [], "nothing is left to write"
    tracked, local = project / ".dvc/config", project / ".dvc/config.local"
    assert "user" not in tracked.read_text()
    assert "secret" not in tracked.read_text()
    assert "hardlink,symlink,copy" in tracked.read_text(), "what else was in the file stays"
    assert local.stat().st_mode & 0o777 == 0o600


def test_a_store_that_is_not_amazons_gets_no_checksums_that_it_does_not_know(project: Path) -> None:
    """Neither from mergershift nor from `dvc push`, which a user types."""
    shared, own = parse_store("s3://bucket/store", ENDPOINT, project)
    write_store(project, Store("team", shared, own), None)
    assert "configpath = aws.ini" in (project / ".dvc/config").read_text(), "relative, as a clone needs it"
    code = (
        "from dvc.repo import Repo; fs = Repo('.').cloud.get_remote().fs.fs\n"
        "print(fs.s3.meta.config.request_checksum_calculation, fs.s3.meta.config.response_checksum_validation)"
    )
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_EC2_METADATA_DISABLED": "true"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | keys, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["when_required", "when_required"]


def test_a_folder_is_written_to_and_left_as_it_was(project: Path, shared: Path) -> None:
    store, secrets = init(Wish(remote=str(shared)))
    assert store.ok
    assert secrets.ok
    assert [path for path in shared.rglob("*") if path.is_file()] == []
    (folder,) = (shared / "files/md5").iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o2775, "teammates may write there"
    before = (project / ".dvc/config").read_text()
    assert [found.ok for found in init(Wish(remote=f"{shared}/"))] == [True, True]
    assert (project / ".dvc/config").read_text() == before


def test_another_store_is_refused_unless_it_is_to_replace_the_first(
    project: Path, shared: Path, tmp_path: Path
) -> None:
    list(init(Wish(remote=str(shared))))
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(UserError, match=f"'team' is set already, with url {shared}, not {other}") as error:
        list(init(Wish(remote=str(other))))
    assert "--replace" in str(error.value)
    found = read_store(project)
    assert found is not None
    assert found.url == str(shared)
    list(init(Wish(remote=str(other), replace=True)))
    found = read_store(project)
    assert found is not None
    assert found.url == str(other)


def test_a_folder_that_is_not_mounted_is_not_created(project: Path, tmp_path: Path) -> None:
    store, _ = init(Wish(remote=str(tmp_path / "nfs/store")))
    assert store.ok is False
    assert "does not exist" in store.found
    assert "mount" in store.remedy
    assert not (tmp_path / "nfs").exists()
    assert read_store(project) is None, "nothing is set that does not work"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_folder_of_somebody_else_is_explained(project: Path, shared: Path) -> None:
    shared.chmod(0o755)
    for folder in (project, *project.parents):  # somebody else has to reach it
        if folder.stat().st_mode & 0o055 != 0o055:
            folder.chmod(folder.stat().st_mode | 0o055)
    os.seteuid(65534)
    try:
        with checking("store") as found:
            check_store(Store("team", {"url": str(shared)}, {}), found, interactive=False)
        with checking("cache") as cached:
            check_cache(shared, project, cached)
    finally:
        os.seteuid(0)
    assert found.ok is False
    assert "you may not write there" in found.found
    assert "g+rwX" in found.remedy
    assert cached.ok is False


def test_a_secret_in_a_tracked_file_stops_everything(project: Path) -> None:
    with Config(str(project / ".dvc")).edit("repo") as config:
        config["remote"]["team"] = {"url": "ssh://host/store", "password": "word"}
        config["core"]["remote"] = "team"
    with pytest.raises(UserError, match=r"the remote 'team' has password, and git tracks that file"):
        list(init(Wish()))


def test_a_password_that_was_committed_is_found(project: Path, shared: Path, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "correct horse battery")
    list(init(Wish(remote=str(shared))))
    (project / "notes.txt").write_text("the password is correct horse battery\n")
    subprocess.run(["git", "add", "notes.txt"], check=True)
    secrets = list(check())[-1]
    assert secrets.ok is False
    assert "notes.txt" in secrets.found
    assert "horse" not in "".join(secrets.lines)


def test_a_file_of_credentials_is_private_and_has_known_names(project: Path, shared: Path) -> None:
    path = project / "keys"
    path.write_text("AWS_ACCESS_KEY=x\n")
    wish = Wish(remote=str(shared), credentials=path)
    path.chmod(0o644)
    with pytest.raises(UserError, match="chmod 600"):
        list(init(wish))
    path.chmod(0o600)
    with pytest.raises(UserError, match="line 1: not a line NAME=VALUE with a known name"):
        list(init(wish))


def test_a_shared_cache_takes_over_what_the_checkouts_own_has(project: Path, shared: Path) -> None:
    (project / "table.txt").write_text("results\n")
    subprocess.run([sys.executable, "-m", "dvc", "add", "-q", "table.txt"], check=True)
    with checking("cache") as found:
        check_cache(shared, project, found)
    assert found.ok
    assert "hard links" in found.found
    (note,) = use_cache(project, shared)
    assert note.startswith("1 object")
    (copied,) = (path for path in shared.rglob("*") if path.is_file())
    assert copied.read_text() == "results\n"
    assert stat.S_IMODE(copied.stat().st_mode) == 0o444
    assert stat.S_IMODE(copied.parent.stat().st_mode) == 0o2775
    assert use_cache(project, shared) == []
    (project / "table.txt").unlink()
    subprocess.run([sys.executable, "-m", "dvc", "checkout", "-q", "table.txt"], check=True)
    assert os.path.samefile(copied, project / "table.txt")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("https://ana:word@mlflow.example.org", "visible to everybody"),
        ("mlflow.example.org", "expected the address of a server"),
        ("sqlite:///mlflow.db", "expected the address of a server"),
        ("https://mlflow.example.org/${oc.env:HOME}", "expected the address of a server"),
    ],
)
def test_an_address_of_a_server_for_all(address: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        parse_address(address)
    assert "word@" not in str(error.value)


def test_the_teams_server_is_used_unless_the_environment_names_another(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = compose().digest()
    assert read_address(project) is None
    write_address(project, "https://mlflow.example.org:8443/team")
    assert read_address(project) == "https://mlflow.example.org:8443/team" == compose().tracking.uri
    assert compose().digest() == before, "no training is another one because of it"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://login1:5000")
    assert compose().tracking.uri == "http://login1:5000"
    assert compose(["tracking.uri=http://mine:5000"]).tracking.uri == "http://mine:5000"
    text = Path("conf/tracking/default.yaml").read_text()
    write_address(project, "https://mlflow.example.org:8443/team")
    assert Path("conf/tracking/default.yaml").read_text() == text
    assert "experiment: mergershift" in text


def test_a_checkout_without_a_team_says_how_to_begin(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("init", "check"):
        with pytest.raises(SystemExit) as ended:
            main(["team", command])
        assert ended.value.code == 1
        err = capsys.readouterr().err
        assert err.count("\n") == 2
        assert "mergershift team init --remote" in err


def test_the_checks_are_printed_and_set_the_exit_code(
    project: Path, shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["team", "init", "--remote", str(shared)])
    assert ended.value.code == 0
    assert "Commit .dvc/config: teammates" in capsys.readouterr().out
    shared.rename(shared.with_name("moved"))
    with pytest.raises(SystemExit) as ended:
        main(["team", "check"])
    assert ended.value.code == 1
    out = capsys.readouterr().out
    assert "store     FAILED" in out
    assert "To fix it: create it there once, or mount" in out
    assert "tracking  -       runs are recorded in sqlite:///" in out


def test_what_is_not_set_is_no_fault() -> None:
    assert Check("tracking", None, "nothing", "set it").lines == [
        "tracking  -       nothing",
        "                  Set it.",
    ]
