"""Records trainings in MLflow; the only place that knows it."""

from mergershift.tracking.lineage import Lineage, lineage
from mergershift.tracking.runs import Run, abandon, existing_run, open_run
from mergershift.tracking.server import tracking_address

__all__ = ["Lineage", "Run", "abandon", "existing_run", "lineage", "open_run", "tracking_address"]
