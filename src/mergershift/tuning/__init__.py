"""Searches for better values of a method's configuration; the only place that knows Optuna."""
