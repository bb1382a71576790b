"""What the model card says of labels that nobody has for new images."""

import pytest
from registry.samples import facts_of

from mergershift.evaluation import Interval
from mergershift.registry.model_card import SHOWN, summary, write_card

TUNED = {"experiment": "oracle_tuned_mmd", "oracle": True}
TRAINED = {"transfer": "oracle_target_only", "oracle": True, "labelled": "noisy", "domains": ("noisy",)}
SPLIT = {"kind": "by_galaxy", "disjoint_domains": True, "train": 0.7, "validation": 0.1, "seed": 68}


def card_of(**changed):
    """The card, on one line, of a training with these facts."""
    figures = {name: Interval(value=0.7, low=0.6, high=0.8) for name in SHOWN}
    figures |= {"galaxies": Interval(value=10), "images": Interval(value=40)}
    told = {"validation_images": 30, "risk_before": 0.6, "risk_after": 0.5, "components": 4, "evaluations": 1}
    told |= {"licence": "Apache-2.0", "choice": "nothing", "lineage": {}, "references": []}
    results = {role: {"unique": figures} for role in ("source", "target")}
    return " ".join(write_card(facts_of(split=SPLIT, **changed), results, **told).replace("> ", "").split())


@pytest.mark.parametrize(
    ("changed", "labelled", "said"),
    [
        ({}, "pristine", ["No label of the target took part in any of these choices."]),
        (
            TUNED,
            "pristine",
            [
                "**ORACLE.** The values that it was trained with (experiment oracle_tuned_mmd) were tuned by labels "
                "of noisy images",
                "took part in tuning the values of experiment oracle_tuned_mmd, and in no other of these choices.",
            ],
        ),
        (
            TRAINED,
            "noisy",
            [
                "**ORACLE.** It was trained on labels of the domain",
                "of the target took part in the training and",
            ],
        ),
        (
            TUNED | TRAINED,
            "noisy",
            [
                "**ORACLE.** It was trained on labels of the domain",
                "of the target took part in the training and",
            ],
        ),
    ],
)
def test_it_tells_training_on_target_labels_from_tuning_by_them(changed, labelled, said):
    card = card_of(**changed)
    for words in (
        *said,
        f"labelled {labelled}, to be used on noisy",
        f"for the {labelled} images that it was",
    ):
        assert words in card
    assert ("ORACLE" in card) == bool(changed)
    assert ("It was trained on labels of the domain" in card) == (labelled == "noisy")


def test_its_summary_gives_each_domain_its_own_figure() -> None:
    def scores(value: float) -> dict[str, Interval]:
        return {"balanced_accuracy": Interval(value=value, low=value - 0.02, high=value + 0.02)}

    told = summary(facts_of(), {"source": {"unique": scores(0.913)}, "target": {"unique": scores(0.624)}})
    of_source, of_target = told.split("0.913")[1].split("0.624")
    assert "pristine" in of_source
    assert "noisy" not in of_source
    assert "noisy" in of_target
    assert "pristine" not in of_target
