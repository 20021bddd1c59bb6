"""What one engine iteration runs: online first, offline within the latency budget.

Map:
    state   input and output of a decision: rows, waiting requests, budgets, the plan
    decide  the decision itself, `plan_iteration(state, model=, budgets=) -> IterationPlan`
"""
