"""Domain adaptation methods, one per file, and their weights; `conf/adaptation/` names them by path."""

from mergershift.adaptation.base import Adaptation
from mergershift.adaptation.weighting import Weighting

__all__ = ["Adaptation", "Weighting"]
