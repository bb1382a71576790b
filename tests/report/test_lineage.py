"""The configuration on the page is exact, and addresses give no password away."""

from __future__ import annotations

import json

import pytest
from report.study_sample import write_study

from mergershift.core.citation import references
from mergershift.core.nesting import flattened
from mergershift.report.lineage import configurations, runs
from mergershift.report.study_results import read_study_results


def parsed(text: str) -> dict[str, list]:
    lines = (line.partition(": ") for line in text.splitlines())
    return {key: [json.loads(value) for value in values.split(" | ")] for key, _, values in lines}


@pytest.mark.slow
def test_common_and_own_keys_together_are_the_configuration(study):
    gathered = read_study_results()
    shown = configurations(gathered)
    common = parsed(shown["common"])
    assert [each["name"] for each in shown["methods"]] == [
        "Source only",
        "MMD",
        "CORAL",
        "Oracle (target labels)",
    ]
    for contender, entry in zip(gathered.settings[0].contenders, shown["methods"], strict=True):
        whole = common | parsed(entry["text"])
        for training in contender.trainings:
            dump = dict(flattened(training.config.dump()))
            assert set(dump) == set(whole)
            assert all(value in whole[key] for key, value in dump.items())
        assert whole["seed"] == [0, 1]
    assert shown["methods"][1]["about"].startswith("Maximum mean discrepancy of the features")
    assert shown["methods"][3]["about"].startswith("The upper bound")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("address", "link"),
    [
        ("https://anna:secret@mlflow.example:8080/team/", "https://mlflow.example:8080/team/#/runs/"),
        ("sqlite:////data/mlflow.db", "http://127.0.0.1:5000/#/runs/"),
    ],
)
def test_links_lead_to_the_server_without_its_password(study, monkeypatch, address, link):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    found = runs(read_study_results())
    assert {each["address"][: len(link)] for each in found["entries"]} == {link}
    assert found["local"] == address.startswith("sqlite")
    assert found["dirty"]


def test_what_to_cite_comes_from_the_citation_file(fresh):
    found = references()
    assert found[0]["title"].startswith("mergershift")
    assert any(each["address"] == "https://doi.org/10.17909/t9-vqk6-pc80" for each in found)
    (fresh / "CITATION.cff").unlink()
    assert references() == []


@pytest.mark.slow
def test_both_directions_and_methods_keep_their_looks(fresh):
    back = "noisy_to_pristine"
    write_study(methods=[("pristine_to_noisy", "mmd"), (back, "source_only"), (back, "coral"), (back, "mmd")])
    settings = read_study_results().settings
    assert [each.slug for each in settings] == ["two-pristine-to-noisy", "two-noisy-to-pristine"]
    looks = [{each.name: each.look for each in setting.contenders} for setting in settings]
    assert looks[0]["MMD"] == looks[1]["MMD"] != looks[1]["CORAL"]
    assert settings[0].baseline is None
    assert settings[1].best.name == settings[1].adapted.name == "MMD"
