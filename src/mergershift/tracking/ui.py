"""Serve MLflow's own web interface for the checkout's database."""

from __future__ import annotations

from collections.abc import Sequence

from mergershift.config import compose
from mergershift.core.checkout import enclosing, main_checkout
from mergershift.core.database_files import sqlite_address, sqlite_path
from mergershift.core.errors import UserError
from mergershift.core.redaction import public
from mergershift.tracking.answers import is_server
from mergershift.tracking.artifact_store import FOLDER
from mergershift.tracking.diagnosis import answering
from mergershift.tracking.find_run import experiment_named
from mergershift.tracking.mlflow_server import (
    Serving,
    require_free_port,
    run_server,
    server_command,
    server_environment,
)
from mergershift.tracking.pages import experiment_page
from mergershift.tracking.server import connect, set_defaults, tracking_address
from mergershift.tracking.views import BY_METHOD, STUDY, VERSIONS, VIEW_TAG


def serve_ui(serving: Serving, *, study: bool = False) -> None:
    """Serve MLflow's web interface for the tracking database until interrupted, and print the addresses of its pages.

    If the runs are on a tracking server, only print the addresses of that server's pages.

    Args:
        serving: how the web interface is served.
        study: whether to print the address of the saved view of the study instead of that of all runs.

    Raises UserError if that server or the database cannot be used, if there is no such view, if the port is not free,
    or if MLflow's server fails.
    """
    config = compose().tracking
    address = tracking_address(config.uri)
    with answering(address):
        client = connect(address)
        found = experiment_named(client, config.experiment)
    experiment = None if found is None or found.lifecycle_stage == "deleted" else found
    views = (STUDY, BY_METHOD) if study else ()
    if study and (experiment is None or any(VIEW_TAG + view not in experiment.tags for view in views)):
        raise UserError(
            f"the MLflow experiment {config.experiment} has no saved view of the study.\n"
            f"Write it with `mergershift sync` after `mergershift repro`; it needs MLflow {VERSIONS}x."
        )
    pages = public(address) if is_server(address) else serving.shown
    shown = experiment.experiment_id if experiment else None
    if study:
        lines = [
            f"The study: {experiment_page(pages, shown, STUDY)}",
            f"Means over seeds: {experiment_page(pages, shown, BY_METHOD)}",
            f"Charts: {experiment_page(pages, shown, STUDY, charts=True)}",
        ]
    else:
        lines = [f"MLflow's runs: {experiment_page(pages, shown)}"]
    if is_server(address):
        print("\n".join(lines))
    else:
        _serve(serving, address, [*lines, "Stop the server with Ctrl-C."])


def _serve(serving: Serving, address: str, lines: Sequence[str]) -> None:
    """Run MLflow's server for a database until it is interrupted, and print `lines` as soon as it answers."""
    require_free_port(serving, "mergershift ui")
    path = sqlite_path(address)
    folder = main_checkout() if path is None else enclosing(path.parent) or path.parent
    # A relative path contains no characters that MLflow would take for a part of the address.
    store = address if path is None else sqlite_address(path.relative_to(folder))
    set_defaults()
    command = server_command(serving, ["--default-artifact-root", (folder / FOLDER).as_uri()])
    run_server(serving, command, server_environment(serving, store), folder, lines)
