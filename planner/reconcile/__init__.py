"""Desired against observed: which steps lead from what runs to what is wanted.

Map:
    node    one node's assigned replicas against its engines: ordered steps for its agent
    moves   which removals of a committed plan may begin
"""
