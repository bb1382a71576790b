"""What the stages of dvc.yaml run, one module a stage."""
