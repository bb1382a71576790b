"""Networks, one per module; each maps `(B, C, H, W)` to `Activations` and has a file in `conf/network/`."""

from mergershift.networks.base import CLASSES, Activations, Network, feature_weights

__all__ = ["CLASSES", "Activations", "Network", "feature_weights"]
