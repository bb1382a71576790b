"""Records trainings in MLflow; the only place that knows it."""

from mergershift.tracking.finished import Finished, Outcome, Publisher, Refused, add_figures, tell
from mergershift.tracking.lineage import Lineage, lineage
from mergershift.tracking.publishing import Opening
from mergershift.tracking.registry import fetch_model
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
