"""Fixtures for tests that use MLflow."""

import shutil

import pytest
from mlflow import MlflowClient
from tracking.server import Server


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A running MLflow server, shared by all tests of a session."""
    server = Server(tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """A database file whose tables exist already: MLflow needs a second to create them."""
    path = tmp_path_factory.mktemp("database") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def database(project, empty_database):
    """The address of the project's own database."""
    shutil.copy(empty_database, project / "mlflow.db")
    return f"sqlite:///{project}/mlflow.db"
