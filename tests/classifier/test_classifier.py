"""The stretch in front of the network."""

import torch
from training.samples import config_of

from mergershift.classifier.classifier import build_classifier


def test_the_network_receives_images_under_the_configured_stretch() -> None:
    images = torch.tensor([-3.0, 0.1, 40.0]).view(3, 1, 1, 1).expand(3, 2, 8, 8)
    for stretch, expected in (("linear", images), ("asinh", 2.5 * torch.asinh(images / 2.5))):
        classifier = build_classifier(config_of(stretch=stretch, softening=2.5)).eval()
        torch.testing.assert_close(classifier(images).features, expected[..., 0, 0])
