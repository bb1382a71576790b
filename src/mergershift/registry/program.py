"""A complete model as a single program that maps raw images to three columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mergershift.registry.out_of_domain import FeatureDistance

if TYPE_CHECKING:
    from mergershift.classifier.classifier import Classifier


class ExportableModel(nn.Module):
    """Maps images `(N, C, H, W)` in µJy/arcsec² to the columns of `model_facts.COLUMNS`, `(N, 3)` float64.

    Stretch, normalisation, temperature and the fitted distance are part of the program, and the row of an image does
    not depend on the other images. The row of an image with NaN or infinite pixels is NaN.

    Args:
        classifier: the network with its stretch, which is put into evaluation mode.
        temperature: divides the log odds for the calibrated probability (Guo et al. 2017, arXiv:1706.04599).
        distance: computes the out-of-domain score from features `(N, F)`.
    """

    temperature: Tensor

    def __init__(self, classifier: Classifier, temperature: float, distance: FeatureDistance) -> None:
        super().__init__()
        self.classifier = classifier
        self.distance = distance
        self.register_buffer("temperature", torch.tensor(temperature, dtype=torch.float64))
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Compute the probability, calibrated probability and out-of-domain score of each image."""
        finite = torch.isfinite(images).flatten(1).all(dim=1)
        features, logits = self.classifier(torch.where(finite[:, None, None, None], images, 0.0))
        odds = logits[:, 1].double() - logits[:, 0].double()
        columns = torch.stack(
            [torch.sigmoid(odds), torch.sigmoid(odds / self.temperature), self.distance(features)], dim=1
        )
        return torch.where(finite[:, None], columns, torch.nan)
