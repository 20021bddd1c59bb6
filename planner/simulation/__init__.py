"""An engine replayed at the level of iterations, around the very decision code it runs.

Map:
    request     what arrives: tokens as counts, prefix blocks, labels
    workload    when it arrives: open arrivals, closed-loop clients
    memory      KV in tokens, prefix cache with eviction
    live        a request inside the engine, and how a policy sees it
    truth       how long a pass really takes
    settings    what engine is simulated
    admission   which prompts join a pass, as SGLang and the plugin admit them
    engine      the engine's loop: plan, admit, run, emit
    replay      a workload run to its end: traces, throughput, counters
"""
