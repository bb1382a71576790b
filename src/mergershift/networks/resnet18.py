"""ResNet18 for images a few tens of pixels on a side."""

from __future__ import annotations

from torch import Tensor, nn

from mergershift.core.errors import UserError
from mergershift.networks.base import Activations, Network, check_images


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions bypassed by a shortcut (He et al. 2016, arXiv:1512.03385, Fig. 2).

    The block maps `(B, inputs, H, W)` to `(B, outputs, H / stride, W / stride)`. The shortcut is a 1x1
    convolution where the shape changes, and the identity otherwise.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )
        self.activation = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        """Return the ReLU of residual plus shortcut."""
        return self.activation(self.residual(images) + self.shortcut(images))


class ResNet18(Network):
    """The 18-layer residual network with a stem for small images and about 11 million weights.

    The residual stages are those of He et al. 2016 (arXiv:1512.03385, Table 1). The published stem (7x7, stride
    2, then pooling by 2) is made for images of 224 pixels and would reduce 75 pixels to 3x3 at the last stage.
    Here, a 3x3 convolution at full resolution is followed by a single pooling by 2, so that the four stages see
    38, 19, 10 and 5 pixels on a side. As in Ćiprijanović et al. 2021 (arXiv:2103.01373), a dense bottleneck
    after the average pooling gives the features. Images may have any size.

    Args:
        channels: number of filters C of the images.
        width: number of channels of the first stage; each later stage doubles it.
        bottleneck: number of features F.

    Raises UserError if the width or the bottleneck is below 1.
    """

    def __init__(self, channels: int, width: int = 64, bottleneck: int = 256) -> None:
        super().__init__()
        for name, value in {"width": width, "bottleneck": bottleneck}.items():
            if value < 1:
                raise UserError(f"{name} is {value}, expected at least 1 (conf/network/resnet18.yaml)")
        self.channels, self.feature_size = channels, bottleneck
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(2, ceil_mode=True),
        )
        self.stages = nn.Sequential(
            *_stage(width, width, stride=1),
            *_stage(width, 2 * width, stride=2),
            *_stage(2 * width, 4 * width, stride=2),
            *_stage(4 * width, 8 * width, stride=2),
        )
        self.bottleneck = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8 * width, bottleneck)
        )
        self.classifier = nn.Linear(bottleneck, 2)
        self.apply(_initialise)

    def forward(self, images: Tensor) -> Activations:
        """Return features `(B, bottleneck)` and logits `(B, 2)` of images `(B, C, H, W)`."""
        check_images(images, self.channels)
        features = self.bottleneck(self.stages(self.stem(images)))
        return Activations(features, self.classifier(features))


def _stage(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    return [ResidualBlock(inputs, outputs, stride), ResidualBlock(outputs, outputs, stride=1)]


def _initialise(module: nn.Module) -> None:
    # He et al. 2015 (arXiv:1502.01852): this initialisation preserves the variance through ReLU layers.
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
