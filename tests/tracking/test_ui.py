"""MLflow's web interface is served to whoever may see it, by MLflow's own checks of what is passed to it."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow.server.security_utils import (
    get_allowed_hosts_from_env,
    get_allowed_origins_from_env,
    get_default_allowed_hosts,
    is_allowed_host_header,
    should_block_cors_request,
)
from studies import environment
from tracking.server import Server

from mergershift.cli.main import main
from mergershift.tracking import mlflow_server, ui
from mergershift.tracking.mlflow_server import Serving, server_command, server_environment
from mergershift.tracking.server import connect
from mergershift.tracking.views import write_views

DATABASE = "postgresql+psycopg://bob:secret@db/runs"


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node of a cluster with one address of the cluster's own network and one of the internet's."""
    interfaces = {
        "lo": [SimpleNamespace(address="127.0.0.1"), SimpleNamespace(address="::1")],
        "eth0": [
            SimpleNamespace(address="130.14.29.110"),
            SimpleNamespace(address="2001:db8::42"),
            SimpleNamespace(address="fe80::1%eth0"),
            SimpleNamespace(address="02:42:ac:11:00:02"),
        ],
    }
    monkeypatch.setattr(mlflow_server.psutil, "net_if_addrs", lambda: interfaces)
    monkeypatch.setattr(mlflow_server.socket, "gethostname", lambda: "Node042")
    monkeypatch.setattr(mlflow_server.socket, "getfqdn", lambda: "node042.cluster")


@pytest.fixture
def accepted(node: None, monkeypatch: pytest.MonkeyPatch) -> Callable[[Serving, str], tuple[bool, bool]]:
    """Whether MLflow accepts a request to a host, and a change or search that a page of that host sends."""

    def accepts(serving: Serving, host: str) -> tuple[bool, bool]:
        for name, value in server_environment(serving, DATABASE).items():
            monkeypatch.setenv(name, value)
        hosts = get_allowed_hosts_from_env() or get_default_allowed_hosts()
        origins = get_allowed_origins_from_env() or []
        blocked = should_block_cors_request(f"http://{host}", "POST", origins)
        return is_allowed_host_header(hosts, host), not blocked

    return accepts


@pytest.mark.parametrize("bound", ["0.0.0.0", "::", "node042.cluster", "130.14.29.110"])
@pytest.mark.parametrize(
    "host",
    [
        "node042:5000",
        "node042.cluster:5000",
        "node042.cluster",
        "130.14.29.110:5000",
        "[2001:db8::42]:5000",
        "localhost:6000",
        "127.0.0.1:5000",
        "[::1]:5000",
    ],
)
def test_the_own_hosts_names_are_allowed(bound: str, host: str, accepted: Callable) -> None:
    assert accepted(Serving(bound, 5000), host) == (True, True)


@pytest.mark.parametrize(
    "host", ["attacker.example:5000", "node042.attacker.example:5000", "130.14.29.111:5000"]
)
def test_other_names_are_not_allowed_unless_they_are_given(host: str, accepted: Callable) -> None:
    assert accepted(Serving("0.0.0.0", 5000), host) == (False, False)
    assert accepted(Serving("0.0.0.0", 5000, (host.partition(":")[0],)), host) == (True, True)
    assert accepted(Serving("127.0.0.1", 5000, (host,)), host) == (True, True)


def test_what_mlflow_allows_by_itself_stays_allowed(accepted: Callable) -> None:
    for serving in (
        Serving("127.0.0.1", 5000),
        Serving("0.0.0.0", 5000),
        Serving("localhost", 5000, ("hub.org",)),
    ):
        for host in ("localhost:8888", "127.0.0.1:5000", "10.1.2.3:5000", "192.168.0.7"):
            assert accepted(serving, host)[0]
    assert "MLFLOW_SERVER_ALLOWED_HOSTS" not in server_environment(Serving("127.0.0.1", 5000), DATABASE)


def test_the_command_line_holds_no_password_and_ends_with_the_users_options() -> None:
    serving = Serving("0.0.0.0", 5001, (), "/mlflow", ("--workers", "2"))
    command = server_command(serving, ["--default-artifact-root", "/project/mlartifacts"])
    assert command[command.index("--static-prefix") + 1] == "/mlflow"
    assert command[-2:] == ["--workers", "2"]
    assert command[command.index("--workers") + 1] == "1", "MLflow takes the last one"
    assert not any("secret" in word for word in command)
    assert server_environment(serving, DATABASE)["MLFLOW_BACKEND_STORE_URI"] == DATABASE
    assert serving.shown == "http://0.0.0.0:5001/mlflow"


def run(*arguments: str) -> int | str | None:
    with pytest.raises(SystemExit) as ended:
        main(["ui", *arguments])
    return ended.value.code


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


SERVER = """
import http.server, subprocess, sys, time
if len(sys.argv) == 3:  # as MLflow's command does, the server is a process of its own
    sys.exit(subprocess.run([sys.executable, *sys.orig_argv[1:], "inner"]).returncode)
time.sleep(0.5)
open("started", "w").close()
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""


def test_unknown_options_are_handed_to_mlflows_server(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []

    def start(command: list[str], env: dict[str, str], cwd: Path, stdout: None) -> SimpleNamespace:
        started.append(command)
        assert env["MLFLOW_BACKEND_STORE_URI"] == "sqlite:///mlflow.db"
        assert database == f"sqlite:///{cwd}/mlflow.db"
        assert "hub.org" in env["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
        assert env["UVICORN_ACCESS_LOG"] == "false"
        return SimpleNamespace(poll=lambda: 0, wait=lambda: 0, returncode=0)

    monkeypatch.setattr(mlflow_server, "subprocess", SimpleNamespace(Popen=start))
    port = str(free_port())
    for further in (["--workers", "2"], ["--workers=2"], ["--dev"]):
        for separator in ([], ["--"]):
            names = ["--port", port, "--allowed-hosts", "a.org, hub.org", "--static-prefix", "/x"]
            assert run(*names, *separator, *further) == 0
            assert started[-1][-len(further) - 1 :] == ["/x", *further]


def test_a_server_that_fails_is_reported_in_two_lines(
    database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        ui, "server_command", lambda serving, store: [sys.executable, "-c", "raise SystemExit(2)"]
    )
    assert run("--port", str(free_port())) == 1
    output = capsys.readouterr()
    assert output.err.splitlines()[0] == "Error: MLflow's server stopped with exit code 2."
    assert "http://" not in output.out, "nothing answers there"


def test_a_busy_port_is_reported_in_two_lines_before_a_server_is_started(
    database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mlflow_server, "subprocess", None)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert run("--port", str(port)) == 1
    output = capsys.readouterr()
    assert f"port {port} of 127.0.0.1 is in use" in output.err
    assert output.err.count("\n") == 2
    assert output.out == ""


def test_an_address_of_another_machine_is_reported_in_two_lines(
    database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--host", "192.0.2.1") == 1
    err = capsys.readouterr().err
    assert err.startswith("Error: cannot listen on port 5000 of 192.0.2.1")
    assert err.count("\n") == 2


@pytest.mark.system
def test_the_page_is_announced_when_the_server_answers_and_sigterm_stops_the_server(database: str) -> None:
    project, port = Path.cwd(), free_port()
    program = (
        "import sys; from mergershift.cli.main import main; from mergershift.tracking import ui\n"
        f"ui.server_command = lambda serving, store: [sys.executable, '-c', {SERVER!r}, str(serving.port), 'outer']\n"
        f"main(['ui', '--port', '{port}'])"
    )
    command = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment(project)
    )
    assert command.stdout is not None
    assert command.stdout.readline() == "Starting MLflow's server ...\n"
    assert command.stdout.readline() == (
        f"MLflow's runs: http://127.0.0.1:{port}/#/experiments?workflowType=machine_learning\n"
    )
    assert (project / "started").exists()
    command.terminate()
    assert command.wait(20) == 0
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0, "the server still listens"


def test_the_studys_page_needs_its_view(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--study") == 1
    err = capsys.readouterr().err
    assert "has no saved view of the study" in err
    assert err.count("\n") == 2


@pytest.mark.system
def test_the_pages_of_a_tracking_server_are_printed(
    server: Server, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    client = connect(server.address)
    found = client.get_experiment_by_name("mergershift")
    experiment = found.experiment_id if found else client.create_experiment("mergershift")
    runs = f"{server.address}/#/experiments/{experiment}/runs?workflowType=machine_learning"
    assert run() == 0
    assert capsys.readouterr().out == f"MLflow's runs: {runs}\n"
    write_views(client, experiment)
    assert run("--study") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"The study: {runs}&viewStateShareKey=study",
        f"Means over seeds: {runs}&viewStateShareKey=study-by-method",
        f"Charts: {runs}&viewStateShareKey=study&compareRunsMode=CHART",
    ]


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("http://127.0.0.1:9", "connection refused"),
        ("./mlruns", "is a folder"),
        ("team:5000", "is not an address"),
    ],
)
def test_what_cannot_be_shown_is_reported_in_two_lines(
    address: str,
    found: str,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert run() == 1
    err = capsys.readouterr().err
    assert found in err
    assert err.count("\n") == 2
