"""Rounds: from committed state to a committed plan.

    snapshot  ->  solver (a process of its own)  ->  applier (verifies, commits)

Map:
    snapshot        committed state and demand to what the planner decides from
    solver_process  the child that solves
    solver          the parent's side: deadline, kill, incumbent
    apply           verify again, make ids, commit under the epoch
    outcome         how the last round came out
    loop            when rounds run
"""
