"""Record trainings in MLflow; no other package imports it."""

from mergershift.core.redaction import public
from mergershift.tracking.model_registry import fetch_model
from mergershift.tracking.publisher import Outcome, Publisher, RefusedByServer, publish
from mergershift.tracking.runs import Run, abandon, open_run
from mergershift.tracking.server import recorded_address, tracking_address
from mergershift.tracking.study_run import study_content

__all__ = [
    "Outcome",
    "Publisher",
    "RefusedByServer",
    "Run",
    "abandon",
    "fetch_model",
    "open_run",
    "public",
    "publish",
    "recorded_address",
    "study_content",
    "tracking_address",
]
