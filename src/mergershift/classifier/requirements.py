"""Checks that a configuration can be trained, before anything about its training is written."""

from __future__ import annotations

import torch
from torch import nn

from mergershift.adaptation import Adaptation, Weighting
from mergershift.classifier.classifier import build_classifier
from mergershift.classifier.devices import require_devices
from mergershift.config import Config, instantiate
from mergershift.core.errors import UserError, first_line
from mergershift.images import Prepared
from mergershift.networks import CLASSES, Activations


def require_trainable(config: Config, prepared: Prepared) -> None:
    """Build all parts of a training and pass two images through its network.

    Raises UserError if PyTorch does not find the GPUs that the trainer needs, if a part is not of the class that its
    place in the configuration requires, if it does not accept its arguments, or if the network does not accept images
    of the size of the prepared ones.
    """
    require_devices(config)
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        classifier = build_classifier(config).eval()
        penalty = instantiate(config.adaptation.penalty, Adaptation)
        instantiate(config.adaptation.weighting, Weighting)
        parameters = [nn.Parameter(torch.zeros(1))]
        instantiate(config.training.optimizer, torch.optim.Optimizer, params=parameters)
        domain = config.transfer.labelled_domain
        images = prepared.images(domain, prepared.rows("train", domain=domain, trains="source")[:2])
        images = penalty.labelled_images(images, torch.Generator().manual_seed(0))
        try:
            outputs = classifier(images)
        except (ValueError, RuntimeError) as error:
            raise _refused(config, f"does not accept the prepared images: {first_line(error)}") from error
        if not isinstance(outputs, Activations):
            raise _refused(config, f"returns {type(outputs).__name__}, expected Activations")
        shapes = {
            "features": (len(images), classifier.network.feature_size),
            "logits": (len(images), CLASSES),
        }
        for name, expected in shapes.items():
            found = tuple(getattr(outputs, name).shape)
            if found != expected:
                raise _refused(config, f"returns {name} of shape {found}, expected {expected}")


def _refused(config: Config, fault: str) -> UserError:
    name = config.choices["network"]
    return UserError(f"network={name} {fault}.\nFix the override or conf/network/{name}.yaml.")
