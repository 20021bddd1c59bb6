"""The control plane and what stands beside it: services, rounds, gateway, batches, CLI.

Imports storage and planner; meets agents only in `proto/`.
"""
