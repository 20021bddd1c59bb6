"""How far offline work may go on a replica, and when it yields.

Map:
    gate        whether a replica may take or keep offline work now, with the reason
    guard       the local safety: cut offline work when online latency suffers, restore slowly
    drift_hold  the local safety: hold offline work while iterations are predicted wrongly
    budgets     the live settings an engine is held to
    canary      the cap a canary's offline work runs under
"""
