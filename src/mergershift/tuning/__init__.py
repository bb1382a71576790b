"""Hyperparameter search for the adaptation methods; the only package that imports Optuna."""
