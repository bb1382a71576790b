"""Networks, one per module; each maps `(B, C, H, W)` to `Activations` and has a file in `conf/network/`."""

from mergershift.networks.base import CLASSES, Activations, Network, feature_weights
from mergershift.networks.vector_code import CompiledLoops, VectorCode

__all__ = ["CLASSES", "Activations", "CompiledLoops", "Network", "VectorCode", "feature_weights"]
