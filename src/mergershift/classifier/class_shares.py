"""The shares of the classes that adaptation methods may know: those of the labelled domain."""

from __future__ import annotations

import numpy as np

from mergershift.adaptation.base import ClassShares
from mergershift.config import Config
from mergershift.images import Prepared
from mergershift.networks import CLASSES


def class_shares(config: Config, prepared: Prepared) -> ClassShares:
    """Count the classes among the labelled domain's training images; no label of the target is read.

    The archive repeats the renderings of mergers, so `expected` counts each rendering once. `trained` are the shares
    among the rows that the network is trained on, or equal ones if the loss weights the classes.
    """
    domain = config.transfer.labelled_domain

    def shares(unique: bool) -> tuple[float, ...]:
        chosen = prepared.rows("train", domain=domain, trains="source", unique=unique)
        counts = np.bincount(prepared.labels(domain, chosen), minlength=CLASSES)
        return tuple((counts / counts.sum()).tolist())

    expected = shares(unique=True)
    rows = config.training.training_rows
    balanced = config.training.class_weights == "balanced"
    return ClassShares((1 / CLASSES,) * CLASSES if balanced else shares(rows == "unique"), expected)
