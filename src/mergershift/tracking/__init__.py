"""Records trainings in MLflow; the only place that knows it."""

from mergershift.cells.code_version import Lineage, lineage
from mergershift.tracking.model_registry import fetch_model
from mergershift.tracking.published_run import Opening
from mergershift.tracking.publisher import Finished, Outcome, Publisher, Refused, add_figures, tell
from mergershift.tracking.runs import Run, abandon, open_run
from mergershift.tracking.server import public, recorded_address, tracking_address

__all__ = [
    "Finished",
    "Lineage",
    "Opening",
    "Outcome",
    "Publisher",
    "Refused",
    "Run",
    "abandon",
    "add_figures",
    "fetch_model",
    "lineage",
    "open_run",
    "public",
    "recorded_address",
    "tell",
    "tracking_address",
]
