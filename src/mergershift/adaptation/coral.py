"""Deep CORAL: the difference between the feature covariances of two domains."""

from __future__ import annotations

import torch
from torch import Tensor

from mergershift.adaptation.base import Adaptation, check_features
from mergershift.networks import Activations


class CORAL(Adaptation):
    """The mean squared difference between the entries of two covariance matrices.

    The penalty is |C_s - C_t|² / F², with the Frobenius norm and C = sum (x - mean)(x - mean)ᵀ / (rows - 1),
    after Sun & Saenko 2016 (arXiv:1607.01719), eqs. 1-3, in the scaling of Ćiprijanović et al. 2021
    (arXiv:2103.01373).

    Published forms differ by a constant factor, which only rescales the trade-off: Sun & Saenko divide by 4 F²,
    other implementations do not divide at all. The mean over the entries is the form used for DeepMerge's
    images, so the trade-offs published for them apply here; a trade-off for Sun & Saenko's form is four times the
    one here. Some implementations add the squared difference of the means. It is omitted here, as in both papers,
    so that CORAL compares second moments only, as its name suggests.
    """

    def forward(self, source: Activations, target: Activations, source_labels: Tensor) -> Tensor:
        """Return the penalty (scalar) of features `(N, F)` and `(M, F)`; the labels are not used.

        Raises ValueError unless both are matrices of at least two rows with the same F.
        """
        return coral(source.features, target.features)


def coral(source: Tensor, target: Tensor) -> Tensor:
    """Compute the mean squared difference of the covariances of `(N, F)` and `(M, F)` (scalar); see `CORAL`.

    Let Z be the centred rows of both domains, divided by the square root of the domain's number of rows - 1, and
    S the diagonal matrix of +1 for the source and -1 for the target. Then C_s - C_t = Zᵀ S Z, and its squared
    norm is the sum over i, j of S_ii S_jj (Z Zᵀ)_ij². This avoids the F x F matrices, which are expensive for a
    few thousand features.
    """
    check_features(source, target)
    if min(len(source), len(target)) < 2:
        raise ValueError(
            f"there are {len(source)} and {len(target)} rows, expected at least 2 per domain for a covariance"
        )
    size = source.shape[1]
    result = torch.promote_types(source.dtype, torch.float32)
    # The sum below has terms that nearly cancel, hence float64, which Apple's GPUs lack; autocast would round the
    # product to 16 bits.
    wide = result if source.device.type == "mps" else torch.float64
    rows = torch.cat([_scaled(source.to(wide)), _scaled(target.to(wide))])
    signs = torch.cat([rows.new_ones(len(source)), rows.new_full((len(target),), -1)])
    with torch.autocast(rows.device.type, enabled=False):
        squared_norm = signs @ (rows @ rows.T).square() @ signs
    return (squared_norm / size**2).to(result)


def _scaled(rows: Tensor) -> Tensor:
    """Return rows Z for which Zᵀ Z is the covariance of `rows`."""
    return (rows - rows.mean(0, keepdim=True)) / (len(rows) - 1) ** 0.5
