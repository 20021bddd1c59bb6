"""`make bench-batching`: what one iteration's decision costs.

Map:
    states     engines to decide for, varied, from a seed
    decisions  the bench: times each decision, publishes the figures
"""
