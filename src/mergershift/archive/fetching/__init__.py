"""Fetches the published files over HTTP."""
