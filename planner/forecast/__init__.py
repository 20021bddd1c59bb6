"""Demand of the next rounds, forecast with an upper bound, per deployment."""
