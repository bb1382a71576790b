"""The whole of a model as one program: raw images in, three columns out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mergershift.registry.out_of_domain import FeatureDistance

if TYPE_CHECKING:
    from mergershift.classifier.classifier import Classifier


class ExportableModel(nn.Module):
    """Images `(N, C, H, W)` in µJy/arcsec² to the columns of `facts.COLUMNS`, `(N, 3)` float64.

    Stretch, normalisation, temperature and what distances are measured by are inside, and nothing depends on the
    other images. An image with a pixel that is not finite gets a row of NaN; the others do not notice.

    Args:
        classifier: the network with its stretch; put into evaluation mode.
        temperature: divides the log odds for the calibrated probability (Guo et al. 2017, arXiv:1706.04599).
        distance: of features `(N, F)`.
    """

    temperature: Tensor

    def __init__(self, classifier: Classifier, temperature: float, distance: FeatureDistance) -> None:
        super().__init__()
        self.classifier = classifier
        self.distance = distance
        self.register_buffer("temperature", torch.tensor(temperature, dtype=torch.float64))
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Probability, calibrated probability and out-of-domain score of each image."""
        sound = torch.isfinite(images).flatten(1).all(dim=1)
        features, logits = self.classifier(torch.where(sound[:, None, None, None], images, 0.0))
        odds = logits[:, 1].double() - logits[:, 0].double()
        columns = torch.stack(
            [torch.sigmoid(odds), torch.sigmoid(odds / self.temperature), self.distance(features)], dim=1
        )
        return torch.where(sound[:, None], columns, torch.nan)
