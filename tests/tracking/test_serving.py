"""MLflow itself serves a champion from a real server: same predictions, without pickle or this package."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from click.testing import CliRunner
from mlflow import MlflowClient
from registry.samples import facts_of, program_of, stamps, write_package

from mergershift.cli.main import cli
from mergershift.predicting import load_model
from mergershift.registry import WEIGHTS, RegisteredModel
from mergershift.tracking import fetch_model
from mergershift.tracking.find_run import TRAINING_TAG
from mergershift.tracking.model_registry import Registry

pytestmark = pytest.mark.system


@contextmanager
def serving(uri, folder, **environment):
    """Run `mlflow models serve` on a free loopback port; yields its address and stops it afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        "models",
        "serve",
        "-m",
        uri,
        "--env-manager",
        "local",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    log = folder / "serving.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *command],
            env=os.environ | environment | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{address}/ping", timeout=1)
                break
            except OSError:
                assert process.poll() is None, log.read_text()
                time.sleep(0.1)
        yield address
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait(30)


def invoke(address, content):
    request = urllib.request.Request(
        f"{address}/invocations", json.dumps(content).encode(), {"Content-Type": "application/json"}
    )
    text = urllib.request.urlopen(request, timeout=60).read()
    return json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} is not JSON"))


def test_server_command_and_function_return_the_same_predictions_of_a_champion(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    facts, program = facts_of(), program_of()
    folder = write_package(tmp_path / "package", facts, program)
    client = MlflowClient(tracking_uri=server.address)
    client.create_run(client.create_experiment("serving"), tags={TRAINING_TAG: facts.training})
    registry = Registry(server.address)
    fingerprint = facts.fingerprint(folder / WEIGHTS)
    run_id = registry.run_of(facts.training, "serving")
    assert run_id is not None
    candidate, new = registry.publish(folder, "served_candidates", run_id, fingerprint, {}, "test")
    assert new
    assert registry.publish(folder, "served_candidates", run_id, fingerprint, {}, "test") == (
        candidate,
        False,
    )
    registry.set_champion(registry.copy(candidate, "served"))
    package = RegisteredModel.read(fetch_model(server.address, "models:/served@champion"))
    # Simulates a machine that has only MLflow and PyTorch.
    without = tmp_path / "without/mergershift"
    without.mkdir(parents=True)
    (without / "__init__.py").write_text("raise ImportError('not installed here')\n")
    images = stamps(4)
    images[3, 1] = np.nan
    environment = {"MLFLOW_TRACKING_URI": server.address, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    with serving(
        "models:/served@champion", tmp_path, PYTHONPATH=str(without.parent), **environment
    ) as address:
        answer, single = (
            invoke(address, {"inputs": images.tolist(), "params": params}) for params in ({}, {"views": 1})
        )
    assert [list(row) for row in answer["predictions"]] == [list(facts.columns)] * 4
    served = np.array([list(row.values()) for row in answer["predictions"]], dtype=float)
    assert np.isnan(served).all(axis=1).tolist() == [False, False, False, True]
    expected = RegisteredModel(facts, program).predict(images)
    np.testing.assert_allclose(served, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(package.predict(images), expected, rtol=0, atol=1e-5)
    of_one = np.array([list(row.values()) for row in single["predictions"]], dtype=float)
    np.testing.assert_allclose(of_one, package.with_views(1).predict(images), rtol=0, atol=1e-5)

    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    np.save("images.npy", images)
    command = ["predict", "images.npy", "--model", "models:/served@champion", "--output", "table.ecsv"]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 0, done.output
    by_function = load_model("models:/served@champion").predict(images)
    for table in (Table.read("table.ecsv"), by_function):
        columns = np.column_stack([table[name] for name in facts.columns])
        np.testing.assert_allclose(np.ma.filled(columns, np.nan), served, rtol=0, atol=1e-5)
