"""Who may do what on a team's server, shown by raw requests to a real one, not by what a well-behaved client sends."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from mlflow import MlflowClient
from mlflow.entities import Metric, RunTag
from mlflow.exceptions import MlflowException
from mlflow.server.handlers import get_endpoints
from tracking.samples import TRAINING
from tracking.team import TeamServer, experiment_of, secret

from mergershift.cli.main import main
from mergershift.core.errors import UserError
from mergershift.tracking import open_run
from mergershift.tracking.accounts import Accounts
from mergershift.tracking.model_registry import Registry
from mergershift.tracking.roles import ACCOUNT_TAG

pytestmark = pytest.mark.system
Command = Callable[..., tuple[object, str, str]]
API, AJAX = "/api/2.0/mlflow", "/ajax-api/2.0/mlflow"
READS = re.compile(
    r".*/(search|search-datasets|get-latest-versions|metrics|batchGetInfos|calculate-filter-correlation)"
)
HARMLESS = re.compile(r".*/presigned-download-url|.*/ui-telemetry|/graphql")


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TeamServer]:
    """A server with a reader, two editors and a maintainer."""
    server = TeamServer(tmp_path_factory.mktemp("team"))
    try:
        server.start()
        server.welcome()
        yield server
    finally:
        server.stop()


@pytest.fixture
def sign_in(team: TeamServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Signs this process's clients in as a user; returns a client."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def sign_in(user: str) -> MlflowClient:
        team.sign_in(monkeypatch, user)
        return MlflowClient(team.address)

    return sign_in


@pytest.fixture
def command(team: TeamServer, sign_in: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Command:
    """Runs a command outside of a checkout as a user; returns its exit code and what it printed."""

    def command(user: str, *arguments: str, password: str | None = None) -> tuple[object, str, str]:
        sign_in(user)
        if password is not None:
            monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        output = capsys.readouterr()
        return ended.value.code, output.out, output.err

    return command


@pytest.fixture(scope="module")
def made(team: TeamServer, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A run, a candidate and its promoted copy: the run and the candidate of Ana, the champion chosen by Max."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "data").mkdir()
    (folder / "MLmodel").write_text("flavors: {}")
    (folder / "data/model.pt2").write_text("program")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder.parent)
        patch.setenv("XDG_CACHE_HOME", str(folder.parent / "cache"))
        team.sign_in(patch, "ana")
        client = MlflowClient(team.address)
        experiment = experiment_of(client)
        run = client.create_run(experiment, run_name="ana's").info.run_id
        client.log_text(run, "figure", "figure.txt")
        candidate, new = Registry(team.address).publish(
            folder, "mergershift_candidates", run, "f" * 12, {"data": "mock"}, "description"
        )
        assert new
        team.sign_in(patch, "max")
        registry = Registry(team.address)
        champion = registry.copy(candidate, "mergershift")
        registry.set_champion(champion)
        (model,) = client.search_logged_models([experiment])
    return SimpleNamespace(
        experiment=experiment, run=run, candidate=candidate, champion=champion, model=model.model_id
    )


def endpoints() -> list[tuple[str, str]]:
    """Every call of MLflow's REST interfaces, with placeholders filled in."""
    found = {
        (re.sub(r"<(?:\w+:)?\w+>", "1", path), method)
        for path, _, methods in get_endpoints()
        for method in methods
    }
    return sorted(found)


def test_nobody_gets_in_without_credentials_or_with_wrong_ones(team: TeamServer) -> None:
    native = [
        ("/v1/traces", "POST"),
        ("/ajax-api/3.0/jobs/1", "GET"),
        ("/gateway/proxy/1", "POST"),
        ("/", "GET"),
    ]
    for path, method in [*endpoints(), *native, (f"{AJAX}/upload-artifact", "POST"), ("/graphql", "POST")]:
        if not path.endswith("/server-info"):  # what a client may know before it logs in
            assert team.ask(None, method, path, json={}).status_code == 401, (method, path)
    for name in ("ana", "nobody", "admin"):
        for password in ("", "wrong", "password1234"):
            refused = requests.get(f"{team.address}{API}/users/current", auth=(name, password), timeout=30)
            assert refused.status_code == 401


def test_missing_and_wrong_credentials_are_distinguished_in_two_lines(
    team: TeamServer, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code, _, err = command("ana", "team", "setup", password="wrong")
    assert (code, err.count("\n")) == (1, 2)
    assert "does not accept the password of ana, or has no such user (401)" in err
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"asks for a user and password \(401\)"):
        Accounts(team.address)


def test_a_reader_sees_everything_and_changes_nothing(team: TeamServer, made: SimpleNamespace) -> None:
    for path in (
        f"{API}/runs/get?run_id={made.run}",
        f"{API}/registered-models/get?name=mergershift",
        f"{API}/artifacts/list?run_id={made.run}",
        f"/get-artifact?run_id={made.run}&path=figure.txt",
        f"/api/2.0/mlflow-artifacts/artifacts/{made.experiment}/{made.run}/artifacts/figure.txt",
        f"{API}/logged-models/{made.model}",
        f"{API}/users/current",
        "/",
    ):
        assert team.ask("rea", "GET", path).status_code == 200, path
    found = team.ask("rea", "POST", f"{API}/runs/search", json={"experiment_ids": [made.experiment]})
    assert found.json()["runs"]
    native = [("/v1/traces", "POST"), ("/gateway/proxy/1", "POST"), (f"{AJAX}/upload-artifact", "POST")]
    place = f"/{made.experiment}/{made.run}/artifacts/new.txt"
    files = [(f"{api}/2.0/mlflow-artifacts/artifacts{place}", "PUT") for api in ("/api", "/ajax-api")]
    changes = [entry for entry in [*endpoints(), *native, *files] if entry[1] != "GET"]
    assert len(changes) > 200
    for path, method in changes:
        if READS.fullmatch(path) or HARMLESS.fullmatch(path):
            continue
        answer = team.ask(
            "rea", method, path, json={"experiment_id": made.experiment, "run_id": made.run, "name": "x"}
        )
        assert answer.status_code == 403, (method, path, answer.text)
    assert team.ask("rea", "POST", f"{API}/experiments/create", json={"name": "mine"}).status_code == 403


def test_two_editors_log_to_one_experiment_and_the_server_records_who_did(
    team: TeamServer, made: SimpleNamespace, sign_in: Any
) -> None:
    client = sign_in("eve")
    run = client.create_run(made.experiment, tags={"mlflow.user": "somebody else"}).info.run_id
    client.log_batch(run, [Metric("loss", 0.5, 0, 0)], tags=[RunTag("a", "b")])
    client.log_text(run, "text", "notes/text.txt")
    assert client.get_run(run).data.tags[ACCOUNT_TAG] == "eve"
    assert client.get_run(made.run).data.tags[ACCOUNT_TAG] == "ana"
    client.log_metric(made.run, "score", 1.0)  # as a report does, which adds figures to the runs of others
    forged = {"key": ACCOUNT_TAG, "value": "ana"}
    attempts: list[tuple[str, Any]] = [
        ("runs/set-tag", {"run_id": run, **forged}),
        ("runs/delete-tag", {"run_id": run, "key": ACCOUNT_TAG}),
        ("runs/log-batch", {"run_id": run, "tags": [forged]}),
        ("runs/create", {"experiment_id": made.experiment, "tags": [forged]}),
        ("runs/set-tag", json.dumps({"run_id": run, **forged})),  # JSON within JSON, which MLflow accepts
    ]
    for path, body in attempts:
        assert team.ask("eve", "POST", f"{API}/{path}", json=body).status_code == 403, (path, body)
    assert client.get_run(run).data.tags[ACCOUNT_TAG] == "eve"
    own = client.create_experiment("eve's own")
    other = sign_in("ana")
    assert other.create_run(own).info.run_id
    with pytest.raises(MlflowException, match="only a maintainer can delete the runs of others"):
        other.delete_run(run)
    client = sign_in("eve")
    client.delete_run(run)
    client.restore_run(run)


def test_an_editor_cannot_touch_the_champion_nor_the_work_of_others(
    team: TeamServer, made: SimpleNamespace
) -> None:
    champion, candidate = {"name": "mergershift"}, {"name": "mergershift_candidates"}
    created = team.ask("eve", "POST", f"{API}/experiments/create", json={"name": "one of eve's"})
    own = created.json()["experiment_id"]  # others may have logged to it, too
    source = f"models:/mergershift_candidates/{made.candidate.number}"
    registry: list[tuple[str, str, Any]] = [
        ("POST", "registered-models/create", {"name": "mine"}),
        (
            "POST",
            "registered-models/create",
            {"name": "p", "tags": [{"key": "mlflow.prompt.is_prompt", "value": "true"}]},
        ),
        ("POST", "model-versions/create", {**champion, "source": source}),
        ("POST", "model-versions/create", json.dumps({**champion, "source": source})),
    ]
    for model in (champion, candidate):
        version = {**model, "version": "1"}
        registry += [
            ("POST", "registered-models/alias", {**version, "alias": "champion"}),
            ("DELETE", "registered-models/alias", {**model, "alias": "champion"}),
            ("POST", "registered-models/rename", {**model, "new_name": "other_candidates"}),
            ("PATCH", "registered-models/update", {**model, "description": "other"}),
            ("DELETE", "registered-models/delete", model),
            ("POST", "registered-models/set-tag", {**model, "key": "a", "value": "b"}),
            ("DELETE", "registered-models/delete-tag", {**model, "key": "a"}),
            ("PATCH", "model-versions/update", {**version, "description": "other"}),
            ("DELETE", "model-versions/delete", version),
            ("POST", "model-versions/set-tag", {**version, "key": "fingerprint", "value": "b"}),
            ("DELETE", "model-versions/delete-tag", {**version, "key": "fingerprint"}),
            ("POST", "model-versions/transition-stage", {**version, "stage": "Production"}),
        ]
    others = [
        ("POST", "experiments/create", {"name": "away", "artifact_location": "file:///tmp"}),
        ("POST", "experiments/create", {"name": "away", "artifactLocation": "mlflow-artifacts:/0"}),
        ("POST", "experiments/create", json.dumps({"name": "away", "artifact_location": "file:///tmp"})),
        ("POST", "experiments/update", {"experiment_id": made.experiment, "new_name": "mine"}),
        ("POST", "experiments/delete", {"experiment_id": made.experiment}),
        ("POST", "experiments/delete", {"experiment_id": own}),
        ("POST", "runs/delete", {"run_id": made.run}),
        ("DELETE", f"logged-models/{made.model}", {}),
        ("PATCH", "users/update-password", {"username": "max", "password": "a new password"}),
        ("PATCH", "users/update-admin", {"username": "eve", "is_admin": True}),
        ("POST", "users/create", {"username": "new", "password": "a new password"}),
        ("DELETE", "users/delete", {"username": "max"}),
    ]
    for method, path, body in [*registry, *others]:
        for api in (API, AJAX):
            answer = team.ask("eve", method, f"{api}/{path}", json=body)
            assert answer.status_code == 403, (method, path, body, answer.text)
    for path, body in (
        ("roles/assign", {"username": "eve", "role_id": 3}),
        ("roles/permissions/add", {"role_id": 2, "resource_type": "registered_model"}),
        (
            "users/permissions/grant",
            {"username": "eve", "resource_type": "registered_model", "resource_id": "mergershift"},
        ),
    ):
        assert team.ask("eve", "POST", f"/api/3.0/mlflow/{path}", json=body).status_code == 403, path
    kept = team.ask("rea", "GET", f"{API}/registered-models/get?name=mergershift").json()["registered_model"]
    assert kept["aliases"] == [{"alias": "champion", "version": str(made.champion.number)}]


def test_files_of_a_registered_model_are_final(team: TeamServer, made: SimpleNamespace, sign_in: Any) -> None:
    inside = f"models/{made.model}/artifacts/data/model.pt2"
    store = f"/api/2.0/mlflow-artifacts/artifacts/{made.experiment}"
    quoted = inside.replace("models", "%256dodels", 1)
    for path in (
        inside,
        quoted,
        inside.replace("/artifacts", "/./artifacts"),
        f"models/{made.model}/artifacts/new.txt",
    ):
        for method in ("PUT", "DELETE"):
            answer = team.ask("ana", method, f"{store}/{path}", data=b"other")
            assert answer.status_code in (400, 403, 404), (method, path, answer.status_code)
    for path in (f"models/{made.model}", "models", f"{made.run}", ""):
        assert team.ask("eve", "DELETE", f"{store}/{path}").status_code in (403, 405), path
    for step in ("create", "complete", "abort"):
        place = f"/api/2.0/mlflow-artifacts/mpu/{step}/{made.experiment}/{inside}"
        assert team.ask("ana", "POST", place, json={"path": "x", "num_parts": 1}).status_code == 403
    presigned = {"model_id": made.model, "path": "data/model.pt2"}
    assert team.ask("ana", "POST", f"{API}/artifacts/presigned-upload-url", json=presigned).status_code == 403
    client = sign_in("max")
    registry = Registry(team.address)
    fetched = registry.fetch(registry.resolve("models:/mergershift@champion"))
    assert (fetched / "data/model.pt2").read_text() == "program"
    # A model among the files of a run, as earlier versions registered it, is protected in the same way.
    mine = sign_in("ana").create_run(made.experiment).info.run_id
    client.log_text(mine, "program", "model/program.txt")
    version = {"name": "mergershift_candidates", "run_id": mine}
    location = f"mlflow-artifacts:/{made.experiment}/{mine}/artifacts/model"
    for source in (
        f"runs:/{mine}/model",
        location.replace("mlflow-artifacts:", f"{team.address}{store[:35]}"),
    ):
        created = team.ask("ana", "POST", f"{API}/model-versions/create", json={**version, "source": source})
        assert created.status_code == 403, (source, created.text)
    created = team.ask("ana", "POST", f"{API}/model-versions/create", json={**version, "source": location})
    assert created.status_code == 200, created.text
    free = sign_in("eve").create_run(made.experiment).info.run_id
    for query in (f"run_uuid={mine}", f"run_id={free}&run_uuid={mine}"):
        upload = f"{AJAX}/upload-artifact?{query}&path=model/program.txt"
        assert team.ask("eve", "POST", upload, data=b"other").status_code == 403, query
    assert (
        team.ask("eve", "POST", f"{AJAX}/upload-artifact?run_uuid={free}&path=a.txt", data=b"a").status_code
        == 200
    )


def test_files_that_were_changed_on_the_servers_disk_are_not_used(
    team: TeamServer, made: SimpleNamespace, sign_in: Any
) -> None:
    sign_in("rea")
    (stored,) = (team.folder / "server/artifacts").rglob(f"{made.model}/artifacts/data/model.pt2")
    try:
        stored.write_text("another program")
        registry = Registry(team.address)
        with pytest.raises(UserError, match="its files were changed after it was registered"):
            registry.fetch(registry.resolve("models:/mergershift@champion"))
    finally:
        stored.write_text("program")


def test_a_promotion_by_an_editor_is_refused_before_anything_is_copied(
    team: TeamServer, made: SimpleNamespace, sign_in: Any
) -> None:
    sign_in("eve")
    registry = Registry(team.address)
    before = registry.versions("mergershift")
    with pytest.raises(
        UserError, match=r"eve may not add versions to mergershift on .* role maintainer"
    ) as caught:
        registry.require_write("mergershift", "maintainer")
    assert str(caught.value).count("\n") == 1
    assert registry.versions("mergershift") == before
    registry.require_write("mergershift_candidates", "editor")
    with pytest.raises(
        UserError, match=r"has no registered model other_candidates, and eve may not create one"
    ):
        registry.require_write("other_candidates", "editor")
    sign_in("rea")
    with pytest.raises(UserError, match="needs the role editor"):
        Registry(team.address).require_write("mergershift_candidates", "editor")
    sign_in("max")
    Registry(team.address).require_write("mergershift", "maintainer")


def test_a_reader_trains_on_without_a_run_and_a_warning_names_the_role(
    team: TeamServer,
    sign_in: Any,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sign_in("rea")
    (tmp_path / "conf").mkdir()
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)  # a checkout, in which the training remembers that it is not published
    run = open_run(team.address, TRAINING)
    run.log_epochs([{"epoch": 0, "loss": 1.0}])
    run.finish([{"epoch": 0, "loss": 1.0}])
    assert run.run_id is None
    messages = [record.getMessage() for record in caplog.records]
    assert any("does not permit this to rea (403: rea is a reader" in message for message in messages), (
        messages
    )
    assert any("continues without it: run `mergershift sync` later" in message for message in messages)


def test_a_changed_role_password_or_account_counts_at_once(team: TeamServer, sign_in: Any) -> None:
    sign_in("admin")
    accounts = Accounts(team.address)
    account = accounts.put("zoe", "maintainer", None)
    assert account.created
    assert account.password is not None
    accounts.put("zoe", None, secret("zoe"))
    client = sign_in("zoe")
    own = client.create_experiment("zoe's")
    client.create_registered_model("zoe's_candidates")
    sign_in("admin")
    assert accounts.put("zoe", "editor", None).password is None
    for body in ({"name": "zoe's_candidates"}, {"name": "mergershift"}):
        assert team.ask("zoe", "DELETE", f"{API}/registered-models/delete", json=body).status_code == 403
    assert team.ask("zoe", "POST", f"{API}/runs/create", json={"experiment_id": own}).status_code == 200
    accounts.put("zoe", "reader", None)
    assert team.ask("zoe", "POST", f"{API}/runs/create", json={"experiment_id": own}).status_code == 403
    new = {"username": "zoe", "password": "the password of her choice", "current_password": secret("zoe")}
    assert team.ask("zoe", "PATCH", f"{API}/users/update-password", json=new).status_code == 200
    assert team.ask("zoe", "GET", f"{API}/users/current").status_code == 401
    accounts.put("zoe", None, secret("zoe"))
    assert team.ask("zoe", "GET", f"{API}/users/current").json()["is_basic_auth"], (
        "the browser offers to log out"
    )
    accounts.remove("zoe")
    assert team.ask("zoe", "GET", f"{API}/users/current").status_code == 401
    with pytest.raises(UserError, match="has no user zoe"):
        accounts.remove("zoe")
    with pytest.raises(UserError, match="administrator whose credentials"):
        accounts.remove("admin")


def test_the_commands_are_repeatable_and_print_what_a_person_types(
    team: TeamServer, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("admin", "team", "setup") == (0, f"{team.address} is prepared; nothing was missing.\n", "")
    monkeypatch.setenv("MERGERSHIFT_SERVER_ADDRESS", "https://mlflow.example.org")
    lines = command("admin", "team", "user", "kim", "--role", "editor")[1].splitlines()
    assert lines[0] == f"kim is now an editor on {team.address}."
    assert lines[2] == "  export MLFLOW_TRACKING_URI=https://mlflow.example.org"
    password = lines[3].partition("MLFLOW_TRACKING_PASSWORD=")[2]
    assert len(password) >= 20
    assert lines[4].split("#")[0].strip() == "mergershift team init"
    assert (
        command("admin", "team", "user", "kim", "--role", "reader")[1]
        == f"kim is now a reader on {team.address}.\n"
    )
    assert password not in (team.folder / "log").read_text()
    code, _, err = command("kim", "team", "user", "kim", "--role", "maintainer", password=password)
    assert code == 1
    assert "kim is not an administrator" in err
    assert command("admin", "team", "user", "kim", "--remove")[1] == f"kim is removed from {team.address}.\n"
