"""Experiments with galaxy-merger classifiers that have to survive a change of domain."""

__version__ = "0.1.0"
