"""The networks of a model as a single program that maps raw images to their answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mergershift.registry.feature_distance import FeatureDistance

if TYPE_CHECKING:
    from mergershift.classifier.classifier import Classifier


class ExportableModel(nn.Module):
    """Maps images `(N, C, H, W)` in µJy/arcsec² to the answers of M networks, `(N, 2 M)` float64.

    The first M columns are the networks' log odds of a merger, the others the distances of the features. Stretch,
    normalisation and the fitted distances are part of the program, and the row of an image does not depend on the
    other images. The row of an image with NaN or infinite pixels is NaN. `tracking.named_columns` computes the model's
    columns from the answers for the views of an image.

    Args:
        classifiers: M networks with their stretch, which are put into evaluation mode.
        distances: compute distances from the features `(N, F)` of these networks.
    """

    def __init__(self, classifiers: Sequence[Classifier], distances: Sequence[FeatureDistance]) -> None:
        super().__init__()
        self.classifiers = nn.ModuleList(classifiers)
        self.distances = nn.ModuleList(distances)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Compute the log odds and the distance of each image by each network."""
        finite = torch.isfinite(images).flatten(1).all(dim=1)
        known = torch.where(finite[:, None, None, None], images, 0.0)
        odds, distances = [], []
        for classifier, distance in zip(self.classifiers, self.distances, strict=True):
            features, logits = classifier(known)
            odds.append(logits[:, 1].double() - logits[:, 0].double())
            distances.append(distance(features))
        return torch.where(finite[:, None], torch.stack([*odds, *distances], dim=1), torch.nan)
