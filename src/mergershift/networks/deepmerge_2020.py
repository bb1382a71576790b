"""The network of the first DeepMerge paper exactly as its Keras code built it, oddities included."""

from __future__ import annotations

from torch import Tensor, nn

from mergershift.core.errors import UserError
from mergershift.networks.base import (
    Activations,
    Network,
    check_dropout,
    check_images,
    pooled_size,
    sigmoid_as_softmax,
)


class WidthNorm(nn.Module):
    """Batch normalisation over the image width: `(B, C, H, W)` -> `(B, C, H, W)`, with statistics of length W.

    By default, Keras normalises over the last axis, which is the width of channels-first images. Epsilon (1e-3)
    and momentum (0.99) are Keras' defaults; Keras' momentum is the weight of the old statistics, PyTorch's that
    of the new ones.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width, eps=1e-3, momentum=1 - 0.99)

    def forward(self, images: Tensor) -> Tensor:
        """Normalise each column of images `(B, C, H, W)`."""
        return self.norm(images.transpose(1, 3)).transpose(1, 3)


class DeepMerge2020(Network):
    """The published network, with 174 801 parameters for two filters as Keras counts them.

    The architecture follows Ćiprijanović et al. 2020 (arXiv:2004.11981) and the notebooks released with the
    paper. Its convolutions have 8 (5x5), 16 (3x3) and 32 (3x3) filters and keep the image size; each is followed
    by ReLU, batch normalisation over the image *width*, max-pooling by 2 and dropout. Dense layers of 64 and 32
    units with *softmax* activation and an L2 penalty on their weights lead to one sigmoid output. Weights are
    initialised Glorot-uniform, biases with zeros. Keras counts running means and variances as (non-trainable)
    parameters.

    The features are the 2592 flattened activations. The sigmoid's logit z is returned as the pair (0, z), whose
    softmax is the sigmoid and whose cross-entropy is the binary one.

    Args:
        channels: number of filters C of the images.
        image_size: height and width of the images in pixels, H = W.
        dropout: dropout probability after each pooling.
        weight_penalty: L2 factor on the weights of both softmax layers.

    Raises UserError if the dropout is not in [0, 1), the penalty is negative or the image size is below 8.
    """

    def __init__(
        self, channels: int, image_size: int = 75, dropout: float = 0.5, weight_penalty: float = 1e-4
    ) -> None:
        super().__init__()
        self.channels, self.image_size = channels, image_size
        check_dropout(dropout)
        if weight_penalty < 0:
            raise UserError(
                f"weight_penalty is {weight_penalty}, expected at least 0 (conf/network/deepmerge_2020.yaml)"
            )
        self.weight_penalty = weight_penalty
        self.feature_size = 32 * pooled_size(image_size, pools=3) ** 2
        self.encoder = nn.Sequential(
            *_block(channels, 8, kernel=5, width=image_size, dropout=dropout),
            *_block(8, 16, kernel=3, width=image_size // 2, dropout=dropout),
            *_block(16, 32, kernel=3, width=image_size // 4, dropout=dropout),
            nn.Flatten(),
        )
        self.hidden = nn.Sequential(
            nn.Linear(self.feature_size, 64), nn.Softmax(dim=1), nn.Linear(64, 32), nn.Softmax(dim=1)
        )
        self.output = nn.Linear(32, 1)
        self.apply(_initialise)

    def forward(self, images: Tensor) -> Activations:
        """Return features `(B, F)` and logits `(B, 2)`, (0, z), of images `(B, C, image_size, image_size)`."""
        check_images(images, self.channels, self.image_size)
        features = self.encoder(images)
        return Activations(features, sigmoid_as_softmax(self.output(self.hidden(features))))

    def regularisation(self) -> Tensor:
        """Return `weight_penalty` times the sum of the squared weights of both softmax layers (scalar)."""
        squares = [layer.weight.square().sum() for layer in self.hidden if isinstance(layer, nn.Linear)]
        return self.weight_penalty * sum(squares, start=super().regularisation())


def _block(inputs: int, outputs: int, kernel: int, width: int, dropout: float) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel, padding="same"),
        nn.ReLU(),
        WidthNorm(width),
        nn.MaxPool2d(2),
        nn.Dropout(dropout),
    ]


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
