"""What every adaptation method takes and returns."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Generator, Tensor, nn

from mergershift.networks import Activations, Network


class Adaptation(nn.Module):
    """A penalty on the difference between a labelled source batch and an unlabelled target batch.

    A method may hold weights of its own (a domain classifier, class centres): they are trained with the
    network's. It never sees a target label. What is not a penalty has two hooks: `labelled_images` before the
    network, `after_training` behind it.
    """

    uses_target: bool = True
    """Whether the penalty depends on the target; where it does not, training need not run it at all."""

    def build(self, feature_size: int, classes: int) -> None:
        """Make the weights that depend on the network's sizes F and K; called once, before training."""

    def labelled_images(self, images: Tensor, generator: Generator) -> Tensor:
        """Return what the network gets of labelled images `(N, C, H, W)`, µJy/arcsec²: the images themselves.

        Called for training batches and for the labelled domain's validation images, never for test images.
        """
        return images

    def forward(self, source: Activations, target: Activations, source_labels: Tensor) -> Tensor:
        """Return the penalty (scalar, before any weighting).

        Args:
            source: activations of N labelled images: features `(N, F)`, logits `(N, K)`.
            target: activations of M unlabelled images: features `(M, F)`, logits `(M, K)`.
            source_labels: `(N,)` class numbers of the source.

        Raises ValueError where the shapes do not fit each other.
        """
        raise NotImplementedError

    def after_training(self, network: Network, batches: Iterable[Tensor]) -> None:
        """Change the trained network in place by unlabelled target images; most methods leave it as it is.

        The evaluation gives a copy of it source images instead, for what is computed on the source.

        Args:
            network: a trained network, in evaluation mode before and after.
            batches: the target's training images `(M, C, H, W)` as the network takes them, each once.
        """


def check_features(source: Tensor, target: Tensor) -> None:
    """Raise ValueError unless `source` is `(N, F)` and `target` `(M, F)`, with at least one row each."""
    matrices = source.ndim == target.ndim == 2
    if not matrices or source.shape[1] != target.shape[1] or not len(source) * len(target):
        raise ValueError(
            f"features of shapes {tuple(source.shape)} and {tuple(target.shape)}, expected (N, F) and (M, F)"
        )
