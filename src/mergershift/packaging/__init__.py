"""A trained classifier as something to hand on: its program and its facts; `assembling` makes one of a training."""

from mergershift.packaging.distance import FeatureDistance, fit_distance
from mergershift.packaging.facts import COLUMNS, FACTS, WEIGHTS, Facts
from mergershift.packaging.package import Package
from mergershift.packaging.program import Program

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
