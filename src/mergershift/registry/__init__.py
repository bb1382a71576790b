"""A trained classifier as something to hand on: its program and its facts; `assembling` makes one of a training."""

from mergershift.registry.model_facts import COLUMNS, FACTS, WEIGHTS, Facts
from mergershift.registry.out_of_domain import FeatureDistance, fit_distance
from mergershift.registry.program import Program
from mergershift.registry.registered_model import Package

__all__ = [
    "COLUMNS",
    "FACTS",
    "WEIGHTS",
    "Facts",
    "FeatureDistance",
    "Package",
    "Program",
    "fit_distance",
]
