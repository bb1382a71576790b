"""Registered models: the program and the facts of a trained classifier, and how candidates become champions."""

from mergershift.registry.model_facts import COLUMNS, FACTS, WEIGHTS, ModelFacts
from mergershift.registry.out_of_domain import FeatureDistance, fit_distance
from mergershift.registry.program import ExportableModel
from mergershift.registry.registered_model import RegisteredModel

__all__ = [
    "COLUMNS",
    "FACTS",
    "WEIGHTS",
    "ExportableModel",
    "FeatureDistance",
    "ModelFacts",
    "RegisteredModel",
    "fit_distance",
]
