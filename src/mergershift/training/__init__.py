"""Trains one network; the only place that knows Lightning."""
