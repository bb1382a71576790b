"""DeepMerge's convolutional network in the form used for domain adaptation."""

from __future__ import annotations

from torch import Tensor, nn

from mergershift.networks.base import Activations, Network, check_dropout, check_images, pooled_size


class DeepMerge(Network):
    """Three convolutions and three dense layers, about 170 000 weights.

    Ćiprijanović et al. 2021 (arXiv:2103.01373), the network called DeepMerge there: convolutions of 8 (5x5),
    16 and 32 (3x3) filters that keep the size, each followed by batch normalisation over channels, ReLU and
    max-pooling by 2; the flattened result is the features (2592 for 75x75 images); dense layers of 64 and 32
    with ReLU; two logits.

    Args:
        channels: filters C of the images.
        image_size: H = W of the images, pixels.
        dropout: probability of dropping after each pooling; the published form has none.

    Raises UserError on a dropout that is no probability and on an image size below 8.
    """

    def __init__(self, channels: int, image_size: int = 75, dropout: float = 0.0) -> None:
        super().__init__()
        self.channels, self.image_size = channels, image_size
        check_dropout(dropout)
        self.feature_size = 32 * pooled_size(image_size, pools=3) ** 2
        self.encoder = nn.Sequential(
            *_block(channels, 8, kernel=5, dropout=dropout),
            *_block(8, 16, kernel=3, dropout=dropout),
            *_block(16, 32, kernel=3, dropout=dropout),
            nn.Flatten(),
        )
        self.head = nn.Sequential(
            nn.Linear(self.feature_size, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 2)
        )

    def forward(self, images: Tensor) -> Activations:
        """Classify images `(B, C, image_size, image_size)`; features `(B, F)`, logits `(B, 2)`."""
        check_images(images, self.channels, self.image_size)
        features = self.encoder(images)
        return Activations(features, self.head(features))


def _block(inputs: int, outputs: int, kernel: int, dropout: float) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel, padding="same"),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.MaxPool2d(2),
        *([nn.Dropout(dropout)] if dropout else []),
    ]
