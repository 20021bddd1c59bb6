"""Coefficients and margin from measured iterations, or the reason there are none."""

from planner.latency.sample import IterationSample

__all__ = ["IterationSample"]
