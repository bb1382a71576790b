"""Figures of trainings and evaluations."""
