"""Offline order on a real engine: a batch whose items share prefixes.

Map:
    batch    the batch: groups of items with long shared prefixes, in random order
    orders   runs of one order after the other on one engine, and their figures
    compare  `make bench-prefix`
"""
