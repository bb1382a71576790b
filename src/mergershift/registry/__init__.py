"""Registered models: the program and the facts of a trained classifier, and how candidates become champions."""

from typing import TYPE_CHECKING

from mergershift.core.lazy import lazy_exports

if TYPE_CHECKING:
    from mergershift.registry.feature_distance import FeatureDistance, fit_distance
    from mergershift.registry.model_facts import COLUMNS, FACTS, WEIGHTS, ModelFacts
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

__getattr__ = lazy_exports(
    __name__,
    {
        **dict.fromkeys(("COLUMNS", "FACTS", "WEIGHTS", "ModelFacts"), "model_facts"),
        **dict.fromkeys(("FeatureDistance", "fit_distance"), "feature_distance"),
        "ExportableModel": "program",
        "RegisteredModel": "registered_model",
    },
)
