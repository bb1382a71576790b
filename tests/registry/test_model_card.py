"""How the model card describes the use of target labels, which do not exist for new images."""

import itertools
from typing import Any

import pytest
from registry.samples import facts_of

from mergershift.evaluation import Interval
from mergershift.registry.model_card import CARD_METRICS, summary, write_card

TUNED: dict[str, Any] = {"experiment": "oracle_tuned_mmd", "oracle": True}
TRAINED: dict[str, Any] = {
    "transfer": "oracle_target_only",
    "oracle": True,
    "labelled": "noisy",
    "domains": ("noisy",),
}
SPLIT = {"kind": "by_galaxy", "disjoint_domains": True, "train": 0.7, "validation": 0.1, "seed": 68}


def markdown_of(**changed: Any) -> str:
    """The card of a training with these facts."""
    metrics = {name: Interval(value=0.7, low=0.6, high=0.8) for name in CARD_METRICS}
    metrics |= {"galaxies": Interval(value=10), "images": Interval(value=40)}
    values: dict[str, Any] = {"validation_images": 30, "risk_before": 0.6, "risk_after": 0.5}
    values |= {"title": "mmd · two · pristine→noisy · s0"}
    values |= {"components": 4, "evaluations": 1, "licence": "Apache-2.0", "choice": "no others"}
    values |= {"lineage": {"run_id": "r" * 32}, "references": []}
    results = {role: {"unique": metrics} for role in ("source", "target")}
    return write_card(facts_of(split=SPLIT, **changed), results, **values)


def card_of(**changed: Any) -> str:
    """The same as a single line."""
    return " ".join(markdown_of(**changed).replace("> ", "").split())


@pytest.mark.parametrize(
    ("changed", "labelled", "expected"),
    [
        ({}, "pristine", ["No target label was used for any of these choices."]),
        (
            TUNED,
            "pristine",
            [
                "**ORACLE.** Its hyperparameters (experiment oracle_tuned_mmd) were tuned with labels of noisy images",
                "to tune the hyperparameters of experiment oracle_tuned_mmd, and for none of the other choices.",
            ],
        ),
        (
            TRAINED,
            "noisy",
            [
                "**ORACLE.** It was trained on labels of the domain",
                "Target labels were used in the training and",
            ],
        ),
        (
            TUNED | TRAINED,
            "noisy",
            [
                "**ORACLE.** It was trained on labels of the domain",
                "Target labels were used in the training and",
            ],
        ),
    ],
)
def test_it_distinguishes_training_on_target_labels_from_tuning_with_them(
    changed: dict[str, Any], labelled: str, expected: list[str]
) -> None:
    card = card_of(**changed)
    for text in (
        *expected,
        f"trained with labels of {labelled} images, intended for noisy images",
        f"holds for the {labelled} images that it was",
    ):
        assert text in card
    assert ("ORACLE" in card) == bool(changed)
    assert ("It was trained on labels of the domain" in card) == (labelled == "noisy")


@pytest.mark.parametrize(
    ("changed", "trained"),
    [
        ({}, "trained with labels of pristine images, for noisy ones."),
        ({"experiment": "tuned_mmd"}, "trained with labels of pristine images, for noisy ones."),
        (
            TUNED,
            "trained with labels of pristine images, and tuned with labels of noisy ones, which makes it an oracle.",
        ),
        (TRAINED, "trained with labels of noisy images, which makes it an oracle."),
    ],
)
def test_its_summary_says_whose_labels_were_used(changed: dict[str, Any], trained: str) -> None:
    heading, about = markdown_of(**changed).split("\n\n")[:2]
    assert heading == "# mmd · two · pristine→noisy · s0"
    assert trained in about


def test_its_paragraphs_are_single_lines() -> None:
    """MLflow's pages break a line wherever the text does."""
    lines = markdown_of().splitlines()
    begins = ("#", ">", "|", "-", "")
    prose = [bool(line) and not line.startswith(begins[:-1]) for line in lines]
    assert not any(this and following for this, following in itertools.pairwise(prose))


def test_its_summary_gives_each_domain_its_own_figure() -> None:
    def scores(value: float) -> dict[str, Interval]:
        return {"balanced_accuracy": Interval(value=value, low=value - 0.02, high=value + 0.02)}

    told = summary(facts_of(), {"source": {"unique": scores(0.913)}, "target": {"unique": scores(0.624)}})
    of_source, of_target = told.split("0.913")[1].split("0.624")
    assert "pristine" in of_source
    assert "noisy" not in of_source
    assert "noisy" in of_target
    assert "pristine" not in of_target


def test_the_terms_of_the_images_are_those_of_their_provenance():
    assert "published under CC BY 4.0 (https://creativecommons.org" in card_of(data_kind="archive")
    assert "2021MNRAS.506..677C" in card_of(data_kind="archive")
    assert "its licence (CC BY 4.0) and references do not cover them" in card_of(data_kind="mock")
    assert "The licence of images of unknown provenance is unknown" in card_of(data_kind="unknown")
