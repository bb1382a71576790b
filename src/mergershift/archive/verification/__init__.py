"""Verification that the files of a data folder are sound and contain what their names promise."""
