"""The product's main job, end to end, on this machine.

Map:
    __main__  `make demo`: one run, its report and its exit code
    session   a local fleet that serves the demo's deployment, and is gone afterwards
    load      the demo's online load
    batch     the demo's batch, and the proof that no line is lost
    report    what was found, as JSON and as text
    compare   `make bench-demo`: the load with and without a batch, interleaved
"""
