"""Record trainings in MLflow; no other package imports it."""

from mergershift.core.redaction import public
from mergershift.tracking.model_registry import fetch_model
from mergershift.tracking.publisher import Outcome, Publisher, RefusedByServer, add_figures, publish
from mergershift.tracking.runs import Run, abandon, open_run
from mergershift.tracking.server import recorded_address, tracking_address

__all__ = [
    "Outcome",
    "Publisher",
    "RefusedByServer",
    "Run",
    "abandon",
    "add_figures",
    "fetch_model",
    "open_run",
    "public",
    "publish",
    "recorded_address",
    "tracking_address",
]
