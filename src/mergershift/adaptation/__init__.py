"""Domain adaptation methods, one per module, and their weightings; each method has a file in `conf/adaptation/`."""

from mergershift.adaptation.base import Adaptation
from mergershift.adaptation.weighting import Weighting

__all__ = ["Adaptation", "Weighting"]
