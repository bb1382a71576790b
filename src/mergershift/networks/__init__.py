"""Networks, one per file, all `(B, C, H, W)` -> `Activations`; `conf/network/` names them by their path."""

from mergershift.networks.base import CLASSES, Activations, Network

__all__ = ["CLASSES", "Activations", "Network"]
