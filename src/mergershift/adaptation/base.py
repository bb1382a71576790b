"""The interface that every adaptation method implements."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Generator, Tensor, nn

from mergershift.networks import Activations, Network


class Adaptation(nn.Module):
    """A penalty on the difference between a labelled source batch and an unlabelled target batch.

    A method may have weights of its own (a domain classifier, class centres), which are trained together with
    the network's. It never sees a target label. Methods that do more than add a penalty use two hooks:
    `labelled_images` before the network and `after_training` at the end.
    """

    uses_target: bool = True
    """Whether the penalty depends on the target; if not, training does not pass target images through the network."""

    def build(self, feature_size: int, classes: int) -> None:
        """Create the weights that depend on the network's sizes F and K; called once, before training."""

    @property
    def changes_images(self) -> bool:
        """Whether `labelled_images` may return other images than it is given."""
        return type(self).labelled_images is not Adaptation.labelled_images

    def labelled_images(self, images: Tensor, generator: Generator) -> Tensor:
        """Return labelled images `(N, C, H, W)` in µJy/arcsec² as the network is to see them, by default unchanged.

        This hook is called for training batches and for the labelled domain's validation images, never for test
        images.
        """
        return images

    def forward(self, source: Activations, target: Activations, source_labels: Tensor) -> Tensor:
        """Return the penalty (scalar, before any weighting).

        Args:
            source: activations of N labelled images, with features `(N, F)` and logits `(N, K)`.
            target: activations of M unlabelled images, with features `(M, F)` and logits `(M, K)`.
            source_labels: class numbers `(N,)` of the source.

        Raises ValueError if the shapes do not match.
        """
        raise NotImplementedError

    def after_training(self, network: Network, batches: Iterable[Tensor]) -> None:
        """Change the trained network in place using unlabelled target images; most methods do nothing here.

        For scores on the source, the evaluation calls this hook on a copy of the network with source images.

        Args:
            network: a trained network, in evaluation mode before and after.
            batches: batches of the target's training images `(M, C, H, W)`, preprocessed for the network, each
                image once.
        """


def check_features(source: Tensor, target: Tensor) -> None:
    """Raise ValueError unless `source` is `(N, F)` and `target` `(M, F)`, with at least one row each."""
    matrices = source.ndim == target.ndim == 2
    if not matrices or source.shape[1] != target.shape[1] or not len(source) * len(target):
        raise ValueError(
            f"features have shapes {tuple(source.shape)} and {tuple(target.shape)}, expected (N, F) and (M, F)"
        )
