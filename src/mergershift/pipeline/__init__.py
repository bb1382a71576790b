"""Run the stages of dvc.yaml, one at a time or several cells in parallel."""
