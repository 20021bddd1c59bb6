"""An engine replayed at the level of iterations, around the very decision code it runs.

Map:
    request     what arrives: tokens as counts, prefix blocks, labels
    workload    when it arrives: open arrivals, closed-loop clients
    memory      KV in tokens, prefix cache with eviction
    live        a request inside the engine, and how a policy sees it
    truth       how long a pass really takes
    measured    likewise, as an engine's own iterations show it
    noise       factors around a mean, correlated from pass to pass
    settings    limits of the engine that is simulated
    kind        that engine before it has run: settings, what it believes, what is true
    residents   who is in the engine and where; a plan's moves: evict, park, resume
    backlog     offline requests that wait, in their standing orders
    reading     the engine as the decision's state
    admission   which prompts join a pass, as SGLang and the plugin admit them
    decoding    which rows decode, and who gives up KV for them
    passes      a pass, from its launch to its results
    counters    what happened, over a run
    ledger      what every run checks: requests end once, tokens and KV add up
    watch       what a run tells whoever records it
    engine      the engine's loop: plan, apply, admit, decode, launch, settle
    replay      a workload run to its end: traces, throughput, counters
    probe       one level of load: online requests, a batch beside, judged by an SLO
"""
