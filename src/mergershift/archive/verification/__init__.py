"""Checks whether the files of a data folder are sound and are what they are called."""
