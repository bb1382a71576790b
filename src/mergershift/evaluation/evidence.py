"""What a validator may know about a candidate, and functions of logits that several validators need."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mergershift.evaluation.metrics import Floats


@dataclass(frozen=True, eq=False)
class Evidence:
    """Everything a validator may know about a candidate, which includes no label of the target.

    The images are validation images, except for the fields named train. Raises ValueError if the shapes do not match
    or the labels are not class numbers.
    """

    source_features: Floats
    """Features `(N, F)` of source images."""
    source_logits: Floats
    """Logits `(N, K)` of source images."""
    source_labels: NDArray[np.int64]
    """Labels `(N,)` of source images, from 0 to K - 1."""
    target_features: Floats
    """Features `(M, F)` of target images."""
    target_logits: Floats
    """Logits `(M, K)` of target images."""
    source_train_features: Floats | None = None
    """Features `(A, F)` of source training images, needed by `importance_weighted_risk` only."""
    target_train_features: Floats | None = None
    """Features `(B, F)` of target training images, needed by `importance_weighted_risk` only."""
    class_shares: Floats | None = None
    """Shares `(K,)` of the classes among the source's galaxies; None: those of `source_labels`."""
    training_shares: Floats | None = None
    """Shares `(K,)` of the classes by which the training weighed them; None: equal, as after balanced training."""

    def __post_init__(self) -> None:
        """Check shapes and labels."""
        check_logits(self.source_logits, self.source_labels)
        width, classes = self.source_features.shape[-1], self.source_logits.shape[1]
        optional = ("source_train_features", "target_train_features")
        present = {name: getattr(self, name) for name in optional if getattr(self, name) is not None}
        expected = {name: (len(features), width) for name, features in present.items()}
        expected |= {
            "source_features": (len(self.source_labels), width),
            "target_features": (len(self.target_features), width),
            "target_logits": (len(self.target_features), classes),
        }
        for name, shape in expected.items():
            found = getattr(self, name).shape
            if found != shape or 0 in shape:
                raise ValueError(
                    f"{name} of shape {found}, expected {shape} to match the others, and not empty"
                )
        for name in ("class_shares", "training_shares"):
            shares = getattr(self, name)
            if shares is not None and (shares.shape != (classes,) or not (shares > 0).all()):
                raise ValueError(f"{name} are {shares}, expected {classes} numbers above 0")

    def subset(self, source: NDArray[np.bool_], target: NDArray[np.bool_]) -> Evidence:
        """Return the evidence of some validation images, by masks `(N,)` and `(M,)`; training images all stay."""
        return replace(
            self,
            source_features=self.source_features[source],
            source_logits=self.source_logits[source],
            source_labels=self.source_labels[source],
            target_features=self.target_features[target],
            target_logits=self.target_logits[target],
        )

    @property
    def source_shares(self) -> Floats:
        """Shares `(K,)` of the classes in the source, which sum to 1."""
        if self.class_shares is not None:
            return self.class_shares / self.class_shares.sum()
        counts = np.bincount(self.source_labels, minlength=self.source_logits.shape[1])
        return counts / counts.sum()

    def target_logs(self) -> Floats:
        """Logarithms `(M, K)` of the target's class probabilities under equal class frequencies, NaN if diverged.

        If the training did not weigh the classes equally, the probabilities are divided by the shares by which it
        weighed them and normalised again (Saerens et al. 2002, Neural Comput. 14:21, eq. 2.4).
        """
        if self.training_shares is None:
            return log_softmax(self.target_logits)
        return log_softmax(self.target_logits - np.log(self.training_shares))


def log_softmax(logits: Floats) -> Floats:
    """Return the logarithms `(N, K)` of the softmax of logits `(N, K)`, all NaN if one is not finite."""
    if not np.isfinite(logits).all():
        return np.full(logits.shape, np.nan)
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = shifted - shifted.max(axis=1, keepdims=True)
    logs: Floats = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return logs


def entropies(logs: Floats) -> Floats:
    """Return the entropies, in nats, of distributions given by their logarithms along the last axis."""
    entropies: Floats = -(np.exp(logs) * logs).sum(axis=-1)
    return entropies


def check_logits(logits: Floats, labels: NDArray[np.int64]) -> None:
    """Raise ValueError unless there are logits `(N, K)` and labels `(N,)` from 0 to K - 1."""
    if logits.ndim != 2 or labels.shape != (len(logits),) or not len(labels) or logits.shape[1] < 2:
        raise ValueError(f"logits {logits.shape} and labels {labels.shape}, expected (N, K) and (N,), K > 1")
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise ValueError(
            f"labels are {np.unique(labels)[:5]}, expected whole numbers below {logits.shape[1]}"
        )
