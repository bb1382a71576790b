"""Find the run of a training, and its experiment, on an MLflow server."""

from __future__ import annotations

from collections import Counter

from mlflow import MlflowClient
from mlflow.entities import Experiment, Run, ViewType
from mlflow.exceptions import MlflowException

from mergershift.core.checkout import main_checkout
from mergershift.core.redaction import public
from mergershift.tracking.artifact_store import FOLDER, new_experiment_location
from mergershift.tracking.database import is_database
from mergershift.tracking.experiment_page import describe_experiment, page_tags
from mergershift.tracking.failures import ADDRESS, Unusable, permitted
from mergershift.tracking.presentation import TRAINING_TAG

FEW = 20
"""Number of runs of an experiment that are searched for one by one, before all of them are read at once."""
_PAGE = 1000
"""Number of runs that are asked for in one request when all are read."""


class RunFinder:
    """Finds the runs of trainings on the server or database at an address.

    After the first `FEW` of an experiment, it reads all of the experiment's runs, so that there is no request for
    each of thousands. Runs are then found as they were at that time.
    """

    def __init__(self, client: MlflowClient, address: str) -> None:
        self.client = client
        self._address = address
        self._experiments: dict[tuple[str, bool], str | None] = {}
        self._searched: Counter[str] = Counter()
        self._read: dict[str, dict[str, Run]] = {}

    def experiment(self, name: str, *, restore: bool = False) -> str | None:
        """Return the id of the experiment with this name; see `experiment_id`."""
        if (name, restore) not in self._experiments:
            self._experiments[name, restore] = experiment_id(
                self.client, self._address, name, restore=restore
            )
        return self._experiments[name, restore]

    def find(self, experiment: str, training: str) -> Run | None:
        """Return the run of a training; see `find`."""
        self._searched[experiment] += 1
        if self._searched[experiment] <= FEW:
            return find(self.client, experiment, training)
        if experiment not in self._read:
            self._read[experiment] = self._all(experiment)
        return self._read[experiment].get(training)

    def _all(self, experiment: str) -> dict[str, Run]:
        runs: dict[str, Run] = {}
        token = None
        while True:
            page = self.client.search_runs(
                [experiment],
                f"tags.`{TRAINING_TAG}` LIKE '%'",
                run_view_type=ViewType.ALL,
                max_results=_PAGE,
                page_token=token,
            )
            for run in page:
                training = run.data.tags[TRAINING_TAG]
                known = runs.get(training)
                if known is not None and not deleted(known) and not deleted(run):
                    run = find(self.client, experiment, training) or run  # deletes the duplicate
                if known is None or not deleted(run):
                    runs[training] = run
            token = page.token
            if not token:
                return runs

    def find_again(self, experiment: str, training: str) -> Run | None:
        """Return the run of a training as it is now."""
        run = find(self.client, experiment, training)
        if experiment in self._read and run is not None:
            self._read[experiment][training] = run
        return run


def find(client: MlflowClient, experiment_id: str, training: str) -> Run | None:
    """Return the run of a training; a deleted run only if there is no active one, None if there is none at all.

    Deletes duplicate runs of the training, unless the server does not permit that to this user.
    """
    found = client.search_runs(
        [experiment_id], f"tags.`{TRAINING_TAG}` = '{training}'", run_view_type=ViewType.ALL
    )
    order = sorted(found, key=lambda run: (deleted(run), run.info.start_time, run.info.run_id))
    for duplicate in order[1:]:
        # If the server's answer was lost, the client may have sent the request to create the run twice.
        if not deleted(duplicate):
            with permitted():
                client.delete_run(duplicate.info.run_id)
    return order[0] if order else None


def deleted(run: Run) -> bool:
    """Return whether the run has been deleted."""
    return bool(run.info.lifecycle_stage == "deleted")


def experiment_named(client: MlflowClient, name: str) -> Experiment | None:
    """Return the experiment with this name, deleted or not; None if there is none.

    Raises Unusable if the answer describes no experiment: the client turns any JSON into an empty one.
    """
    found = client.get_experiment_by_name(name)
    if found is not None and not found.experiment_id:
        raise Unusable(
            f"{public(client.tracking_uri)} does not answer as MLflow does",
            f"Correct the host and port in {ADDRESS}",
        )
    return found


def experiment_id(client: MlflowClient, address: str, name: str, *, restore: bool) -> str | None:
    """Return the id of the experiment with this name, creating the experiment if it does not exist.

    Its page is described if it is not yet. A deleted experiment is restored, with all its runs, only if `restore` is
    set; otherwise the result is None.
    """
    found = experiment_named(client, name)
    if found is None:
        where = new_experiment_location(address)
        if where is None and is_database(address):
            # MLflow's own default is a folder below the working directory, such as a worktree that is emptied later.
            where = (main_checkout() / FOLDER).as_uri()
        try:
            return str(client.create_experiment(name, artifact_location=where, tags=page_tags()))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        found = experiment_named(client, name)  # another process created it first
        if found is None:
            raise MlflowException(f"the experiment {name} exists but cannot be found")
    if found.lifecycle_stage == "deleted":
        if not restore:
            return None
        client.restore_experiment(found.experiment_id)
    describe_experiment(client, found)
    return str(found.experiment_id)
