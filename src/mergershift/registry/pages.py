"""What MLflow's pages say about registered models and their versions."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mergershift.registry.model_facts import COLUMNS, ENSEMBLES_ONLY, ModelFacts
from mergershift.tracking.presentation import TARGET_TAG

LONGEST_DESCRIPTION, ROOM_FOR_PROMOTIONS = 5000, 1000
"""Most characters of a description that MLflow's database takes, and how many of them promotions may need."""
IMPORTANT = (
    "Results on test galaxies",
    "How it was trained",
    "Lineage",
    "Input and output",
    "Intended use and limits",
)
"""Sections of the model card that a version's page shows first of all; others follow if there is room."""
PROMOTIONS = "**Promotions**"
"""Heading of the list of a version's promotions and refusals in its description."""
_CANDIDATES = (
    "Candidates for the model [{model}](#/models/{model}): trainings that `mergershift register` registered."
)
_CHAMPIONS = (
    "Classifiers of merging galaxies that were made champion by `mergershift promote`; the version with the alias "
    "`champion` is the present one."
)
_USE = """{begin} Each version's description is its model card.

**Predict** from npy or FITS images; units, pixel scale and redshift are read from FITS headers:

```
mergershift predict "my_images/*.fits" --model {uri} --output mergers.ecsv
```

**Serve**, with MLflow and PyTorch alone; a `sqlite:` address is that of a file in the checkout:

```
export MLFLOW_TRACKING_URI={address}
mlflow models serve -m {uri} --env-manager local --port 5001
```

A request holds images (N, filters, 75, 75) in µJy/arcsec²; the answer has {columns} for each, and `{ensembles}`
of an ensemble. The parameter `views` (8 by default, or 1) is the number of turned and mirrored
views of an image that are averaged:

```python
import numpy as np, requests

images = np.load("my_images.npy")[:10]
answer = requests.post("http://127.0.0.1:5001/invocations", json={{"inputs": images.tolist()}})
print(answer.json()["predictions"])
```
"""


def model_description(model: str, name: str, address: str) -> str:
    """Describe a registered model in Markdown: what it is and how it is used.

    Args:
        model: name of the model that has the champion.
        name: name of the described model: the same, or that of its candidates.
        address: address of the MLflow server or database, without credentials.
    """
    candidates = name != model
    return _USE.format(
        begin=_CANDIDATES.format(model=model) if candidates else _CHAMPIONS,
        address=address,
        uri=f"models:/{name}/1" if candidates else f"models:/{name}@champion",
        columns=", ".join(f"`{column}`" for column in COLUMNS if column != ENSEMBLES_ONLY),
        ensembles=ENSEMBLES_ONLY,
    )


def version_description(card: str, links: Mapping[str, str]) -> str:
    """Turn a model card into the description of a version, which has to be shorter.

    The links, addresses by their texts, follow the summary. Sections of the card that do not fit are left out, the
    least important first, and named at the end.
    """
    start, *sections = card.split("\n## ")
    heading, summary, notes = start.split("\n\n", 2)
    # MLflow's list of versions shows the first line as it is, so the heading is marked in the second one.
    heading = f"{heading.removeprefix('# ')}\n==="
    linked = " · ".join(f"[{text}]({address})" for text, address in links.items())
    begin = "\n\n".join([heading, summary, *([linked] if linked else []), notes.strip()])
    parts = {section.partition("\n")[0]: _with_space(f"## {section.strip()}") for section in sections}
    end = "The whole card is `model_card.md` among the model's files; this page leaves out: {}."
    room = LONGEST_DESCRIPTION - ROOM_FOR_PROMOTIONS - len(begin) - len(end) - len(", ".join(parts))
    kept = set()
    for name in sorted(parts, key=_rank):
        if len(parts[name]) + 2 <= room:
            kept.add(name)
            room -= len(parts[name]) + 2
    left_out = [name for name in parts if name not in kept]
    shown = [text for name, text in parts.items() if name in kept]
    return "\n\n".join([begin, *shown, *([end.format(", ".join(left_out))] if left_out else [])])


def _rank(section: str) -> int:
    return IMPORTANT.index(section) if section in IMPORTANT else len(IMPORTANT)


def _with_space(section: str) -> str:
    """End the cells of tables with a space, since MLflow's pages draw none between columns."""
    return "\n".join(
        re.sub(r"(?<=\S) \|(?= \S)", "&emsp;|", line) if line.startswith("| ") else line
        for line in section.splitlines()
    )


def with_promotion(description: str, sentence: str) -> str:
    """Add a sentence to the list of promotions in the description of a version.

    The latest comes first, and the oldest are left out of a description that would become too long.
    """
    line = f"- {sentence}"
    lines = description.splitlines()
    if line in lines:
        return description
    if PROMOTIONS in lines:
        place = lines.index(PROMOTIONS) + 2
        lines[place:place] = [line]
    else:
        blanks = [number for number, text in enumerate(lines) if not text.strip()]
        after = 2 if "===" in lines[:2] else 1  # the heading, if there is one, and the summary
        place = blanks[after - 1] if len(blanks) >= after else len(lines)
        lines[place:place] = ["", PROMOTIONS, "", line]
        place += 3
    last = place
    while last + 1 < len(lines) and lines[last + 1].startswith("- "):
        last += 1
    while len("\n".join(lines)) > LONGEST_DESCRIPTION and last > place:
        del lines[last]
        last -= 1
    return "\n".join(lines)


def version_tags(facts: ModelFacts, accuracy: str, lineage: Mapping[str, str]) -> dict[str, str]:
    """Choose the tags of a version: few and short; the card's lineage has the rest.

    Args:
        facts: facts of the model.
        accuracy: balanced accuracy on the target's test images, with its interval.
        lineage: lineage of the model, as in the card.
    """
    commit = lineage["git_commit"][:8] + " with changes" * (lineage["git_dirty"] == "true")
    started = {name: value for name, value in lineage.items() if name.endswith(".from")}
    return {
        "data": facts.data_kind,
        TARGET_TAG: accuracy,
        "dvc_stage": lineage["dvc_stage"],
        "commit": commit,
        **started,
    }
