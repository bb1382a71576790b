"""Record trainings in MLflow; no other package imports it.

MLflow itself is imported when one of these names is used: a command can look up what is `missed` without it.
"""

from typing import TYPE_CHECKING

from mergershift.core.lazy import lazy_exports
from mergershift.core.redaction import public

if TYPE_CHECKING:
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

__getattr__ = lazy_exports(
    __name__,
    {
        "fetch_model": "model_registry",
        **dict.fromkeys(("Outcome", "Publisher", "RefusedByServer", "publish"), "publisher"),
        **dict.fromkeys(("Run", "abandon", "open_run"), "runs"),
        **dict.fromkeys(("recorded_address", "tracking_address"), "server"),
        "study_content": "study_run",
    },
)
