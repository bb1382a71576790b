"""The sentences of the page, composed from the results of the study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mergershift.archive import DOI, terms_of
from mergershift.cells.records import Trained
from mergershift.report.study_results import StudyResults
from mergershift.report.wording import listed


def title(gathered: StudyResults) -> str:
    """The question that the study answers, as the title of the page."""
    directions = list(dict.fromkeys((setting.source, setting.target) for setting in gathered.settings))
    step = "from {} to {}" if len(directions) == 1 else "between {} and {}"
    return f"Which adaptation method survives the step {step.format(*directions[0])} images?"


def kinds(gathered: StudyResults) -> list[str]:
    """Provenance of the images (mock, archive or unknown); several kinds if trainings differ."""
    return sorted({training.trained.provenance.kind for training in gathered.trainings})


def note(gathered: StudyResults) -> str:
    """Note on the provenance of the images, printed on every figure."""
    provenance = kinds(gathered)
    if provenance == ["archive"]:
        return "DeepMerge archive"
    return "MOCK IMAGES" if provenance == ["mock"] else f"IMAGES: {' + '.join(provenance)}".upper()


def banner(gathered: StudyResults) -> dict[str, Any]:
    """The banner that names the provenance of the images and warns of what else limits the results."""
    kinds_found = kinds(gathered)
    provenances = [training.trained.provenance for training in gathered.trainings]
    warnings = []
    if kinds_found == ["mock"]:
        headline = "MOCK IMAGES, NOT THE ARCHIVE."
        text = "Stand-ins that test the code: nothing here is a result about galaxies or about how well a method works."
    elif kinds_found == ["archive"]:
        headline = "DeepMerge archive."
        addresses = sorted({str(provenance.address) for provenance in provenances})
        text = f"All results come from the published images (doi:{DOI}), fetched from {listed(addresses)}."
    elif kinds_found == ["unknown"]:
        headline = "IMAGES OF UNKNOWN PROVENANCE."
        text = (
            "There is no record of whether these images come from the archive or from a mock. Do not cite any result "
            "before you know."
        )
    else:
        headline = f"MIXED IMAGES: {' AND '.join(kinds_found)}.".upper()
        text = "The trainings of this study used images of different provenance: do not compare or cite them."
    if any(training.trained.split.kind == "published_leaky" for training in gathered.trainings):
        warnings.append(
            "The split is the published one, by image: nearly every test galaxy was also used in training, so all "
            "accuracies are too high."
        )
    warnings += _doubts([training.trained for training in gathered.trainings])
    for setting in gathered.settings:
        hashes = {
            training.trained.data_hash for contender in setting.contenders for training in contender.trainings
        }
        if len(hashes) > 1:
            warnings.append(
                f"{setting.title}: the trainings used {len(hashes)} different data sets. Run the study again."
            )
    return {
        "real": kinds_found == ["archive"] and not warnings,
        "headline": headline,
        "text": text,
        "warnings": warnings,
    }


def citation(provenance: Sequence[str], warned: bool) -> str:
    """Say what to state with a result from the page, and the terms of its images.

    Args:
        provenance: What `kinds` returns.
        warned: Whether the banner has warnings.
    """
    terms = " ".join(terms_of(kind) for kind in provenance)
    if list(provenance) not in (["archive"], ["mock"]):
        return (
            f"Do not cite a result from this page: its images are of {listed(provenance)} provenance. {terms}"
        )
    text = "When you cite a result from this page, give the commit and the hash of the images (see Exact configuration)"
    if list(provenance) == ["mock"]:
        text += ", and state that it is not based on the images of the archive"
    if warned:
        text += ", and repeat the warnings at the top of the page"
    return f"{text}. {terms}"


def _doubts(trainings: Sequence[Trained]) -> list[str]:
    """Warn of what is not certain about the archive's files from which the images of some trainings were made."""
    doubts = []
    if any(trained.provenance.stated_by == "user" for trained in trainings):
        doubts.append(
            "That the images are the archive's is what a user stated; they were not fetched from there."
        )
    if any(trained.reading.get("galaxies") == "renderings" for trained in trainings):
        doubts.append(
            "The archive's rows are in an unknown order: the split is by rendering, so cameras of one galaxy can be in "
            "training and in test, and accuracies can be too high."
        )
    orders = {order for trained in trainings for what, order in trained.reading.items() if what != "galaxies"}
    if undecided := sorted(order for order in orders if "(assumed" in order):
        doubts.append(f"Which channel shows which filter is not certain: {listed(undecided)}.")
    return doubts
