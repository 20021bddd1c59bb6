"""A fleet of real processes on one machine: what `slacktide cluster` and `make demo` run.

Map:
    record       cluster.json: what was started, where, and as which build
    commands     the command line of every kind of process
    processes    start, identify, stop; nothing is left behind
    readiness    health, versions, states: waited for with a deadline
    release      a build as a wheel in a folder of its own
    lifecycle    up, down, and how it stands
    upgrade      the walk that replaces every process (order: planner.rollout.upgrade)
"""
