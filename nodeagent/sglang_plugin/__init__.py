"""What runs inside SGLang's processes: the scheduler plugin and the CPU platform.

The only room that imports sglang. SGLang finds both by entry point; the environment and
`plugin_contract` are all the agent has in common with them. Every decision comes from
`planner.batching.plan_iteration`; this room reads the engine into its input and carries
its answer out.

Map:
    register            entry point: checks, hooks, and what the engine says of the plugin
    manifest            the names of SGLang 0.5.23 we rest on, with their signatures
    options             engine options the plugin does not support
    scheduler           the Scheduler subclass: where SGLang's pass meets ours
    colocation          one engine's pass: read, decide, carry out; counters and state
    rows                engine requests read as DecodeRow, PrefillWork, EngineState
    clock               the stamp of a pass that every rank decides from
    parking             rows set aside with their KV, brought back, or evicted
    penalties           counts of output tokens, right through parking and eviction
    adder               offline prefill: capped, parked, requeued; KV made for online
    waiting             the waiting queue, read as it changes
    policy              the order of the waiting queue
    cost                what the plugin's own work takes of a pass
    samples             iterations as planned and as measured
    controls            live budgets and coefficients
    cpu_platform        entry point: SGLang on a plain CPU
    cpu_platform_class  the platform class
"""
