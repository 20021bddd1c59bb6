"""Rival policies, behind the interface of `planner.batching.policy`.

What Slacktide is compared with, each as its authors describe it and with its own knobs to
tune. All run online prompts and decodes first and evict offline rows where online lacks
KV, but for SGLang, which evicts for less.

| policy | who | what limits offline work | blind to |
|---|---|---|---|
| `OnlineOnly` | Sarathi-Serve | runs none | offline |
| `OfflineOnly` | Sarathi-offline, the ceiling | chunk size, rows | latency |
| `BlindHybrid` | Sarathi++ | token budget, rows, KV | time, SLOs |
| `OfflineRateCap` | HyGen* | the same and starts per second | time, SLOs; load of the moment |
| `Hygen` | HyGen | one latency budget on the mean prediction | slack, uncertainty, deadlines |
| `SglangPriority` | SGLang 0.5.23 | rows, KV | time, SLOs |
| `ConcurrencyCap` | SGLang's users | requests in flight | time, SLOs; load of the moment |
| `QoServe` | Niyama / QoServe | slack of online decodes, by chunk size | decodes' own cost |

Map:
    room             what online takes of a pass and what it leaves
    fill             offline prompts under a token budget, and the plan
    online_only, offline_only, blind_hybrid, rate_cap, hygen, sglang_priority, qoserve

Only `Hygen` sets offline decodes aside; the others have no parking, so their plans run
every row and bring parked ones back. What a policy carries over beyond the gap of
`Memory` is a subclass of it (`RateMemory`, `PsmMemory`), handed back as it is. A plan's
`budget_ms` is infinite where a policy holds offline work to nothing.
"""
