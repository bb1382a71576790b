"""Fetching of the published files over HTTP."""
