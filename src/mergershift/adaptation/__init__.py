"""Domain adaptation methods, one per file, and their weights; `conf/adaptation/` names them by path."""

from mergershift.adaptation.contract import Adaptation

__all__ = ["Adaptation"]
