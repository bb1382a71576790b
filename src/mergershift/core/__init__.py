"""Foundations that every layer may use: errors, files, processes, progress. Imports no other part of the package."""
