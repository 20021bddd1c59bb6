"""`make bench-fleet`: a day of a large fleet, replayed under Slacktide and its rivals.

Map:
    families     models, devices, SLOs, and what their replicas bear
    settings     the fleet: nodes, demand, batches, failures
    placing      what every rival needs to make a plan
    thrift       giving back what a plan of the greedy does not need
    rivals       per-model greedy, a Mélange-like programme, a split by queues
    arms         who places, and the replay of one arm's day
    clairvoyant  the least anyone could have held: a linear programme over the day
    validation   the aggregated mode against the exact one, on small fleets
    steadiness   whether rounds keep still under constant load, and go back and forth
    figures      what it comes to
    run          options, processes, the report
"""
