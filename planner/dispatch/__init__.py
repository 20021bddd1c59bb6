"""Which item next: what a replica may pull, and from which batches.

Owns the order of offline work above the engine: deadlines by laxity, tenants by
weighted fairness, then age. Refuses storage and clocks: candidates and `now_s` are
arguments. Within a batch items go in line order, so that neighbours share prefixes.

Map:
    admission  whether a replica may pull at all, and why not
    pick       how many items of which batch
"""
