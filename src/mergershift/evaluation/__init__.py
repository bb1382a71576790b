"""Evaluation of predictions: metrics with intervals by galaxy, validators, comparisons and published scores."""

from mergershift.evaluation.bootstrap import Interval, bootstrap
from mergershift.evaluation.calibration import best_temperature, negative_log_likelihood
from mergershift.evaluation.challenge import Challenge, challenge
from mergershift.evaluation.comparison import WonBack, compare, no_drop, won_back
from mergershift.evaluation.evidence import Evidence
from mergershift.evaluation.halves import HALVES, Half, half_of
from mergershift.evaluation.metrics import COUNTS, METRICS, THRESHOLD, score, weighted_scores
from mergershift.evaluation.predictions import (
    ROLES,
    join,
    read_predictions,
    unique_renderings,
    write_predictions,
)
from mergershift.evaluation.published import LOG_2020, PUBLISHED, comparison_rows, comparison_table
from mergershift.evaluation.ranking import agreement, regret
from mergershift.evaluation.results import (
    JSON_NAME,
    Results,
    Scores,
    evaluate,
    flat,
    read_results,
    table,
    write_results,
)
from mergershift.evaluation.thresholds import best_threshold
from mergershift.evaluation.validators import (
    DOMAIN_DISTANCE,
    JUDGED,
    NEEDS_TRAINING_FEATURES,
    ORACLE,
    SOURCE_ACCURACY,
    VALIDATORS,
    oracle_target_balanced_accuracy,
)

__all__ = [
    "COUNTS",
    "DOMAIN_DISTANCE",
    "HALVES",
    "JSON_NAME",
    "JUDGED",
    "LOG_2020",
    "METRICS",
    "NEEDS_TRAINING_FEATURES",
    "ORACLE",
    "PUBLISHED",
    "ROLES",
    "SOURCE_ACCURACY",
    "THRESHOLD",
    "VALIDATORS",
    "Challenge",
    "Evidence",
    "Half",
    "Interval",
    "Results",
    "Scores",
    "WonBack",
    "agreement",
    "best_temperature",
    "best_threshold",
    "bootstrap",
    "challenge",
    "compare",
    "comparison_rows",
    "comparison_table",
    "evaluate",
    "flat",
    "half_of",
    "join",
    "negative_log_likelihood",
    "no_drop",
    "oracle_target_balanced_accuracy",
    "read_predictions",
    "read_results",
    "regret",
    "score",
    "table",
    "unique_renderings",
    "weighted_scores",
    "won_back",
    "write_predictions",
    "write_results",
]
