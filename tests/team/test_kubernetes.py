"""The manifest of the jobs on Kubernetes, against the schemas that Kubernetes publishes."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from team.docker import lacking

from mergershift.cli.main import cli
from mergershift.config import compose

pytestmark = pytest.mark.team
CHECKOUT = Path(__file__).parents[2]
OLDEST = "1.31"
"""The first version of Kubernetes in which everything that the manifest uses is there without a feature gate."""


def documents() -> list[dict[str, Any]]:
    path = CHECKOUT / "docker/kubernetes/job.yaml"
    return list(YAML(typ="safe").load_all(path.read_text()))


def jobs() -> list[Any]:
    return [document for document in documents() if document["kind"] == "Job"]


def named(kind: str, part: str) -> Any:
    found = [d for d in documents() if d["kind"] == kind and d["metadata"]["labels"]["part"] == part]
    assert len(found) == 1
    return found[0]


def validate(document: dict[str, Any], version: str = OLDEST) -> None:
    try:
        import kubernetes_validate
    except ImportError:
        lacking("kubernetes-validate is not installed: tests/team/requirements.lock has it")
    kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("version", [OLDEST, "1.36"])
def test_the_manifest_follows_the_schemas(version):
    for document in documents():
        validate(document, version)


@pytest.mark.parametrize("damage", ["unknown field", "wrong type", "missing template"])
def test_a_damaged_manifest_does_not(damage):
    document = copy.deepcopy(named("Job", "study"))
    if damage == "unknown field":
        document["spec"]["template"]["spec"]["containers"][0]["args_"] = []
    elif damage == "wrong type":
        document["spec"]["backoffLimit"] = "three"
    else:
        del document["spec"]["template"]
    with pytest.raises(Exception, match=r"args_|three|template"):
        validate(document)


def test_what_the_schemas_do_not_check():
    """Rules of the server: a policy for failures allows no restart in place, and replaces pods that have failed."""
    claim = named("PersistentVolumeClaim", "checkout")["metadata"]["name"]
    for job in jobs():
        pod = job["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert job["spec"]["podFailurePolicy"]
        assert job["spec"]["podReplacementPolicy"] == "Failed"
        assert pod["restartPolicy"] == "Never"
        assert pod["terminationGracePeriodSeconds"] > 30
        assert {volume["name"] for volume in pod["volumes"]} == {
            mount["name"] for mount in container["volumeMounts"]
        }
        assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert "env" not in container, "credentials come from the Secret"


def test_the_commands_of_the_jobs_exist():
    for job in jobs():
        (container,) = job["spec"]["template"]["spec"]["containers"]
        name, *arguments = container["args"]
        command = cli.get_command(None, name)  # type: ignore[arg-type]
        assert command is not None
        context = command.make_context(name, list(arguments))
        overrides = context.params.get("overrides", ())
        if name == "tune":
            config = compose(["tuning=mmd", *overrides])
            assert config.tuning is not None
            assert config.tuning.trials == 48
            assert config.tuning.storage == "postgresql+psycopg://optuna@postgres.example.org/optuna"
