"""Whatever is wrong with MLflow's server is named with its own remedy, in two lines, and ends no training.

The answers are those of MLflow 3.17: its texts are in `mlflow/server/security_utils.py` (a host that is not allowed),
`mlflow/server/auth/__init__.py` (401 and 403), Flask's and Starlette's own pages for 404, and nginx's error pages.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import requests
from mlflow import MlflowClient
from mlflow.entities import Run, RunData, RunInfo

from mergershift.cells.records import RunSpec
from mergershift.core.errors import UserError
from mergershift.tracking import open_run
from mergershift.tracking.diagnosis import FAILURES, answering, diagnose
from mergershift.tracking.failures import StoreFailure, Unusable, check_store, reaching_store
from mergershift.tracking.find_run import experiment_named
from mergershift.tracking.published_run import PublishedRun
from mergershift.tracking.publisher import Publisher
from mergershift.tracking.server import connect, reach

SPEC = RunSpec("t1", "e", "a training", {"seed": 3}, {})
HTML, TEXT, JSON = "text/html", "text/plain", "application/json"
NGINX = "<html>\r\n<head><title>{0}</title></head>\r\n<body>\r\n<center><h1>{0}</h1></center>\r\n</body>\r\n</html>"
UNAUTHENTICATED = (
    "You are not authenticated. Please see https://www.mlflow.org/docs/latest/auth/index.html"
    "#authenticating-to-mlflow on how to authenticate."
)
ANSWERS = {
    "a login page": (
        200,
        HTML,
        "<!doctype html><title>Sign in</title>",
        "a web page instead of data",
        "TOKEN",
    ),
    "no user": (
        401,
        TEXT,
        UNAUTHENTICATED,
        "asks for a user and password",
        "MLFLOW_TRACKING_USERNAME",
    ),
    "another host": (
        403,
        TEXT,
        "Invalid Host header - possible DNS rebinding attack detected",
        "does not accept requests to the name 127.0.0.1:",
        "--allowed-hosts 127.0.0.1:",
    ),
    "no permission": (403, TEXT, "Permission denied", "does not permit this", "role"),
    "another path": (
        404,
        HTML,
        "<!doctype html>\n<title>404 Not Found</title>",
        "no MLflow server",
        "--static-prefix",
    ),
    "another path of Starlette": (404, JSON, '{"detail":"Not Found"}', "no MLflow server at", "path"),
    "http to an https port": (
        400,
        HTML,
        "<center>The plain HTTP request was sent to HTTPS port</center>",
        "expects encryption",
        "https://",
    ),
    "too large": (
        413,
        HTML,
        NGINX.format("413 Request Entity Too Large"),
        "of this size",
        "client_max_body_size",
    ),
    "an error": (
        500,
        HTML,
        "<title>500 Internal Server Error</title>",
        "fails to answer (500)",
        "server's log",
    ),
    "a bad gateway": (
        502,
        HTML,
        NGINX.format("502 Bad Gateway"),
        "finds no server (502)",
        "behind the proxy",
    ),
    "unavailable": (
        503,
        HTML,
        NGINX.format("503 Service Unavailable"),
        "does not answer (503): its database does not",
        "Start the server's database",
    ),
    "too many requests": (429, TEXT, "", "is busy", "Wait"),
    "other JSON": (200, JSON, '{"status": "ok"}', "does not answer as MLflow does", "host and port"),
    "an empty answer": (200, TEXT, "", "does not answer as MLflow does", "host and port"),
    "JSON of another shape": (
        200,
        JSON,
        '{"experiment": {"experiment_id": {}}}',
        "does not answer as MLflow does",
        "host and port",
    ),
    "another error": (
        400,
        JSON,
        '{"error": "no such index"}',
        "does not answer as MLflow does",
        "host and port",
    ),
    "no JSON": (200, JSON, "\x00\x01", "does not answer as MLflow does", "host and port"),
    "MLflow's own refusal": (
        400,
        JSON,
        '{"error_code": "INVALID_PARAMETER_VALUE", "message": "Invalid experiment name"}',
        "Invalid experiment name",
        "Fix that",
    ),
}
"""What is at the address -> status, content type and body of each answer, and parts of the two lines."""


class Stub:
    """A server on the loopback interface that gives one answer to every request, or these bytes."""

    def __init__(self) -> None:
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if stub.raw is not None:
                    self.wfile.write(stub.raw)
                    self.close_connection = True
                    return
                self.send_response(stub.status)
                self.send_header("Content-Type", stub.content_type)
                self.send_header("Content-Length", str(len(stub.body)))
                self.end_headers()
                self.wfile.write(stub.body)

            do_GET = do_POST = answer

            def log_message(self, *_: object) -> None:
                pass

        self.status, self.content_type, self.body = 200, TEXT, b""
        self.raw: bytes | None = None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self.address = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def shared() -> Iterator[Stub]:
    stub = Stub()
    yield stub
    stub.stop()


@pytest.fixture
def stub(shared: Stub, monkeypatch: pytest.MonkeyPatch) -> Stub:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    shared.raw = None
    return shared


def ask(address: str) -> None:
    with answering(address):
        reach(address)
        experiment_named(connect(address), "e")


def failure(address: str) -> tuple[str, str]:
    """The two lines of a command that needs MLflow at the address."""
    with pytest.raises(UserError) as caught:
        ask(address)
    what, remedy = str(caught.value).splitlines()
    return what, remedy


def warned(address: str, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What a whole training logs about MLflow at the address, from its first epoch to its end."""
    caplog.set_level(logging.INFO)
    run = open_run(address, SPEC)
    run.log_epochs([{"epoch": 0.0, "loss": 1.0}])
    assert run.run_id is None
    return caplog.messages


@pytest.mark.parametrize("case", ANSWERS)
def test_each_answer_of_a_server_is_distinguished(
    case: str, stub: Stub, caplog: pytest.LogCaptureFixture
) -> None:
    status, content_type, body, found, advised = ANSWERS[case]
    stub.status, stub.content_type, stub.body = status, content_type, body.encode()
    what, remedy = failure(stub.address.replace("//", "//bob:s@cret@"))
    assert found in what
    assert advised in remedy
    assert "cret" not in what + remedy
    (message,) = warned(stub.address, caplog)
    assert message.splitlines()[0] == what
    assert message.endswith(
        "a training continues without it: run `mergershift sync` later to publish what is missing"
    )
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "does not answer in HTTP"),
        (b"\x15\x03\x03\x00\x02\x02\x46", "does not answer in HTTP"),  # TLS refuses plain text
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", "breaks off its answers"),
        (b"", "breaks off its answers"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
            "does not answer in HTTP",
        ),
    ],
)
def test_what_is_no_answer_in_http_is_distinguished(raw: bytes, found: str, stub: Stub) -> None:
    stub.raw = raw
    what, remedy = failure(stub.address)
    assert found in what
    assert "https://" in remedy


@pytest.mark.parametrize(
    ("address", "found", "advised"),
    [
        ("http://127.0.0.1:9", "does not answer: connection refused", "Start the server"),
        (
            "http://no-such-host.invalid:5000",
            "the name no-such-host.invalid:5000 cannot be resolved",
            "Correct the host",
        ),
        ("https://{stub}", "does not use encryption", "http:// instead of https://"),
        ("http://team:port", "is not a URL", "http://HOST:PORT"),
        ("http://[bad", "is not a URL", "http://HOST:PORT"),
        ("team:5000", "is not an address that MLflow can use", "http://HOST:PORT"),
        ("postgres://bob:secret@db/runs", "postgres://db/runs is not an address", "postgresql+psycopg://"),
    ],
)
def test_a_server_that_cannot_be_asked_is_distinguished(
    address: str, found: str, advised: str, stub: Stub, caplog: pytest.LogCaptureFixture
) -> None:
    stub.status, stub.content_type, stub.body = 200, TEXT, b"OK"
    what, remedy = failure(address.format(stub=f"127.0.0.1:{stub.port}"))
    assert found in what
    assert advised in remedy


def test_a_server_that_never_answers_is_distinguished(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mergershift.tracking.server.PROBE_TIMEOUT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        what, remedy = failure(f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert "no answer in time" in what
    assert "MLFLOW_HTTP_REQUEST_TIMEOUT" in remedy


@pytest.mark.parametrize(
    "reason",
    ["self-signed certificate", "IP address mismatch, certificate is not valid for '127.0.0.1'"],
)
def test_a_certificate_that_is_not_accepted_is_distinguished(reason: str) -> None:
    """The texts are those of Python's `ssl`."""
    text = f"[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: {reason}. (_ssl.c:1006)"
    found = diagnose(requests.exceptions.SSLError(text), "https://team:5000")
    assert f"not accepted ({reason})" in found.what
    assert "MLFLOW_TRACKING_SERVER_CERT_PATH" in found.remedy


def test_a_missing_file_of_certificates_is_named(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", "/nowhere/team.pem")
    what, remedy = failure(stub.address.replace("http://", "https://"))
    assert "the file of certificates to accept is missing" in what
    assert "MLFLOW_TRACKING_SERVER_CERT_PATH" in remedy


def test_a_proxy_of_the_environment_that_fails_is_named(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    what, remedy = failure("http://team.example:5000")
    assert "proxy of this machine's environment" in what
    assert "team.example to NO_PROXY" in remedy


def test_a_failure_that_nobody_has_foreseen_ends_no_training(
    project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise LookupError("no such thing")

    monkeypatch.setattr("mergershift.tracking.runs.connect", fail)
    (message,) = warned("sqlite:///runs.db", caplog)
    assert "no such thing" in message
    assert not issubclass(LookupError, FAILURES), "a command shows such a fault"


@pytest.mark.parametrize("form", ["{}/1/run/artifacts", "file://{}/1/run/artifacts"])
def test_a_servers_own_folder_of_artifacts_is_refused_unless_it_is_here(form: str, tmp_path: Path) -> None:
    """`mlflow server --no-serve-artifacts` gives its clients the path that it has itself."""
    root = tmp_path / "mlartifacts"
    uri = form.format(root)
    with pytest.raises(
        Unusable, match=rf"in its own folder {root}, which this machine does not have"
    ) as caught:
        check_store("http://team:5000", uri)
    assert "--serve-artifacts" in caught.value.diagnosis.remedy
    check_store("sqlite:///mlflow.db", uri)
    root.mkdir()
    check_store("http://team:5000", uri)
    with pytest.raises(Unusable):
        check_store("http://team:5000", uri, fetching=True)
    for elsewhere in ("mlflow-artifacts:/1/run/artifacts", "s3://bucket/1/run/artifacts"):
        check_store("http://team:5000", elsewhere)


def test_no_file_of_a_run_is_written_where_the_server_never_sees_it(tmp_path: Path) -> None:
    artifacts = tmp_path / "server/1/run/artifacts"
    client = cast(MlflowClient, SimpleNamespace(tracking_uri="http://team:5000"))
    info = RunInfo("run", "1", "user", "RUNNING", 0, None, "active", artifact_uri=str(artifacts))
    with pytest.raises(Unusable):
        PublishedRun(client, Run(info, RunData())).files({"config.yaml": b""})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("cause", "remedy"),
    [
        (ModuleNotFoundError("No module named 'boto3'"), "Install the library"),
        (OSError("no space left on device"), "free space"),
        (ConnectionRefusedError("refused"), "access to the artifact store"),
    ],
)
def test_a_failure_of_the_artifact_store_is_not_one_of_the_server(cause: Exception, remedy: str) -> None:
    with pytest.raises(StoreFailure) as caught, reaching_store("config.yaml could not be stored"):
        raise cause
    found = diagnose(caught.value, "http://team:5000")
    assert found.what == f"config.yaml could not be stored: {cause}"
    assert remedy in found.remedy


def test_a_server_that_passes_on_artifacts_is_the_one_that_refuses_a_large_file(stub: Stub) -> None:
    stub.status, stub.content_type, stub.body = (
        413,
        HTML,
        NGINX.format("413 Request Entity Too Large").encode(),
    )
    with pytest.raises(StoreFailure) as caught, reaching_store("model.pt2 could not be stored"):
        requests.get(f"{stub.address}/api/2.0/mlflow-artifacts/artifacts/1").raise_for_status()
    assert "client_max_body_size" in diagnose(caught.value, stub.address).remedy


def test_a_login_that_is_refused_for_files_alone_is_not_blamed_on_the_password(stub: Stub) -> None:
    stub.status, stub.content_type, stub.body = 401, TEXT, UNAUTHENTICATED.encode()
    with pytest.raises(StoreFailure) as caught, reaching_store("model.pt2 could not be stored"):
        requests.get(f"{stub.address}/api/2.0/mlflow-artifacts/artifacts/1").raise_for_status()
    found = diagnose(caught.value, stub.address)
    assert "could not check the user or password" in found.what
    assert "database" in found.remedy


@pytest.mark.parametrize("address", ["./mlruns", "mlruns", "file:{}/mlruns", "file://{}/mlruns", "{}/mlruns"])
@pytest.mark.parametrize("allowed", ["true", "false"])
def test_a_folder_is_refused_with_the_command_that_copies_it(
    address: str,
    allowed: str,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", allowed)
    address = address.format(project)
    before = sorted(project.iterdir())
    what, remedy = failure(address)
    assert what == f"MLflow's address {address} is a folder, which is not supported."
    assert "sqlite:///FILE" in remedy
    assert sorted(project.iterdir()) == before
    (project / "mlruns").mkdir()
    what, remedy = failure(address)
    copy = f"mlflow migrate-filestore --source {project}/mlruns --target sqlite:///{project}/mlruns.db"
    assert copy in remedy
    (message,) = warned(address, caplog)
    assert copy in message
    assert not list((project / "mlruns").iterdir())


def test_a_publisher_refuses_before_it_reads_any_training(project: Path) -> None:
    with pytest.raises(UserError, match=r"is a folder.*\n"):
        Publisher("./mlruns")
