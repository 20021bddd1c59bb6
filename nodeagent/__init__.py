"""The node agent: supervises engines, proxies requests, pulls offline items.

Imports planner; meets the control plane only in `proto/`.
"""
