"""Batch items on one replica: pulled, run, committed, handed back.

Map:
    bodies   an item -> the engine's request body, and the engine's answer -> a result, pure
    ledger   what is held: running, finished, to be returned, pure
    control  ItemService of the control plane the session speaks to
    gate     whether and how much offline work may run now
    puller   the shell: watches the gate, exchanges with the control plane, runs items
"""
