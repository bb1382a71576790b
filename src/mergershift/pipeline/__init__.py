"""Runs the stages of dvc.yaml, one after the other or several at a time."""
