"""The configuration on the page is complete, and addresses contain no passwords."""

from __future__ import annotations

import json
from typing import Any

import pytest
from report.study_sample import write_study

from mergershift.core.citation import references
from mergershift.core.nesting import flattened
from mergershift.report.lineage import configurations, runs
from mergershift.report.study_results import read_study_results


def parsed(text: str) -> dict[str, list[Any]]:
    lines = (line.partition(": ") for line in text.splitlines())
    return {key: [json.loads(value) for value in values.split(" | ")] for key, _, values in lines}


@pytest.mark.slow
def test_common_and_own_keys_together_are_the_configuration(study):
    gathered = read_study_results()
    listed = configurations(gathered)
    common = parsed(listed["common"])
    assert [method["name"] for method in listed["methods"]] == [
        "Source only",
        "CORAL",
        "MMD",
        "Oracle (target labels)",
    ]
    for contender, entry in zip(gathered.settings[0].contenders, listed["methods"], strict=True):
        whole = common | parsed(entry["text"])
        for training in contender.trainings:
            dump = dict(flattened(training.config.dump()))
            assert set(dump) == set(whole)
            assert all(value in whole[key] for key, value in dump.items())
        assert whole["seed"] == [0, 1]
    assert listed["methods"][2]["about"].startswith("Maximum mean discrepancy of the features")
    assert listed["methods"][3]["about"].startswith("A reference for what labels would give")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("address", "link"),
    [
        (
            "https://anna:secret@mlflow.example:8080/team/",
            "https://mlflow.example:8080/team/#/experiments/7/runs/",
        ),
        ("sqlite:////data/mlflow.db", "http://127.0.0.1:5000/#/experiments/7/runs/"),
    ],
)
def test_links_lead_to_the_server_without_its_password(study, monkeypatch, address, link):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    found = runs(read_study_results())
    addresses = [entry["address"] for entry in found["entries"] if entry["run_id"]]
    assert addresses
    assert {text[: len(link)] for text in addresses} == {link}
    assert all(text.endswith("?workflowType=machine_learning") for text in addresses)
    assert found["local"] == address.startswith("sqlite")
    assert found["dirty"]


def test_what_to_cite_comes_from_the_citation_file(fresh):
    found = references()
    assert found[0]["title"].startswith("mergershift")
    assert any(reference["address"] == "https://doi.org/10.17909/t9-vqk6-pc80" for reference in found)
    (fresh / "CITATION.cff").unlink()
    assert references() == []


@pytest.mark.slow
def test_a_method_has_the_same_style_in_both_directions(fresh):
    back = "noisy_to_pristine"
    write_study(methods=[("pristine_to_noisy", "mmd"), (back, "source_only"), (back, "coral"), (back, "mmd")])
    settings = read_study_results().settings
    assert [setting.slug for setting in settings] == ["two-pristine-to-noisy", "two-noisy-to-pristine"]
    styles = [{contender.name: contender.style for contender in setting.contenders} for setting in settings]
    assert styles[0]["MMD"] == styles[1]["MMD"] != styles[1]["CORAL"]
    assert settings[0].baseline is None
    best, adapted = settings[1].best, settings[1].adapted
    assert best is not None
    assert adapted is not None
    assert best.name == adapted.name == "MMD"
