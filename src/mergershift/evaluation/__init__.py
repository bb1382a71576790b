"""Predictions in, numbers out: metrics, intervals by galaxy, tables, and the published figures beside them."""

from mergershift.evaluation.bootstrap import Interval, bootstrap
from mergershift.evaluation.comparison import WonBack, compare, won_back
from mergershift.evaluation.inference import predict
from mergershift.evaluation.metrics import COUNTS, METRICS, THRESHOLD, score, weighted_scores
from mergershift.evaluation.predictions import ROLES, join, read_predictions, write_predictions
from mergershift.evaluation.published import PUBLISHED, comparison_rows, comparison_table
from mergershift.evaluation.results import Results, Scores, evaluate, flat, read_results, table, write_results
from mergershift.evaluation.thresholds import best_threshold
from mergershift.evaluation.unique import unique_renderings

__all__ = [
    "COUNTS",
    "METRICS",
    "PUBLISHED",
    "ROLES",
    "THRESHOLD",
    "Interval",
    "Results",
    "Scores",
    "WonBack",
    "best_threshold",
    "bootstrap",
    "compare",
    "comparison_rows",
    "comparison_table",
    "evaluate",
    "flat",
    "join",
    "predict",
    "read_predictions",
    "read_results",
    "score",
    "table",
    "unique_renderings",
    "weighted_scores",
    "won_back",
    "write_predictions",
    "write_results",
]
