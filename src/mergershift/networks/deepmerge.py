"""The convolutional network DeepMerge in the form published for domain adaptation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mergershift.networks.base import Activations, Network, check_dropout, check_images, pooled_size
from mergershift.networks.pooled_block import pooled_block


class DeepMerge(Network):
    """A network of three convolutions and three dense layers, with about 170 000 weights.

    This is the network that Ćiprijanović et al. 2021 (arXiv:2103.01373) call DeepMerge. Its convolutions have
    8 (5x5), 16 (3x3) and 32 (3x3) filters and keep the image size; each is followed by batch normalisation over
    channels, ReLU and max-pooling by 2. The flattened output is the feature vector (2592 features for 75x75
    images). Dense layers of 64 and 32 units with ReLU lead to two logits.

    Args:
        channels: number of filters C of the images.
        image_size: height and width of the images in pixels, H = W.
        dropout: dropout probability after each pooling; the published network has no dropout.

    Raises UserError if the dropout is not in [0, 1) or the image size is below 8.
    """

    def __init__(self, channels: int, image_size: int = 75, dropout: float = 0.0) -> None:
        super().__init__()
        self.channels, self.image_size = channels, image_size
        check_dropout(dropout)
        self.feature_size = 32 * pooled_size(image_size, pools=3) ** 2
        self.encoder = _Encoder(
            *_block(channels, 8, kernel=5, dropout=dropout),
            *_block(8, 16, kernel=3, dropout=dropout),
            *_block(16, 32, kernel=3, dropout=dropout),
            nn.Flatten(),
        )
        self.head = nn.Sequential(
            nn.Linear(self.feature_size, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 2)
        )

    def forward(self, images: Tensor) -> Activations:
        """Return features `(B, F)` and logits `(B, 2)` of images `(B, C, image_size, image_size)`."""
        check_images(images, self.channels, self.image_size)
        features = self.encoder(images)
        return Activations(features, self.head(features))


class _Encoder(nn.Sequential):
    """The layers in their order, of which convolution, normalisation, ReLU and pooling are computed as one.

    In evaluation with gradients each layer is called by itself, for those who look into the network by hooks.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Return features `(B, F)` of images `(B, C, H, W)`."""
        if not self.training and torch.is_grad_enabled():
            result: Tensor = super().forward(images)
            return result
        layers = iter(self)
        for layer in layers:
            if isinstance(layer, nn.Conv2d):
                norm, _relu, _pooling = next(layers), next(layers), next(layers)
                assert isinstance(norm, nn.BatchNorm2d)
                images = pooled_block(images, layer, norm)
            else:
                images = layer(images)
        return images


def _block(inputs: int, outputs: int, kernel: int, dropout: float) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel, padding="same"),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.MaxPool2d(2),
        *([nn.Dropout(dropout)] if dropout else []),
    ]
