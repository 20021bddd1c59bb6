"""The keys of a fleet's file, as `slacktide replay --fleet-keys` prints them.

Owns their documentation. A test reads it as a file, so that it stays one. Durations are "90s",
"15m", "6h", sizes "80GB".
"""

FLEET_HELP = """\
duration: 6h              # simulated; required
interval: 60s             # of flows and of the report's series
seed: 0
mode: aggregated          # or exact: every iteration, for small fleets
begins_loaded: true       # what the first round places has loaded
rounds:
  interval: 15m           # from one round to the next
  resplit: 60s            # between rounds: how often shares follow the load
  lease: 10s              # silence after which a node is lost
  horizon: 60s            # a backlog is wanted done within; `deadlines`: just in time
  max_moves: 50           # additions a round; none: no bound
  device_cost: 0          # of a device, as the control plane's --device-cost; 0: none
  solver: solve           # or greedy
  forecast: last          # or seasonal, which learns as it goes
  margin: 0.1             # added to the last value
prices: {h100: 3.0}       # of a device-hour
nodes:
  - type: h100            # a known device; an unknown one prints them
    count: 4
    devices: 8            # of each node
    domains: [rack0, rack1]   # failure domains, dealt in turn; none: each node its own
    group: pool-a
    host_memory: 1TiB
    cordoned: false
    frozen: false         # nothing is added here, and nothing that runs is taken away
  # - {id: gpu7, type: NVIDIA B200, memory: 180GB, devices: 8}   # one node, any device
deployments:
  - name: chat
    model: llama3-8b      # a known model; an unknown one prints them
    tensor_parallel_size: 1
    device_types: [h100]  # none: every type of the fleet; work counts on the first
    slo: {ttft: 2s, tpot: 60ms, attainment: 0.99}   # or itl; max_gap beside tpot
    min_replicas: 1
    max_replicas: 8
    stage: active         # or observe, shadow, canary
    offline_weight: 1
    spread: false
    node_groups: []
    anti_affinity: []     # deployments its replicas share no node with; may name itself
    host_memory: 0        # that a replica takes on its node
    frozen: false         # its replicas stay as they are, and no others are added
    failover: 0           # of its demand, served though any one domain is lost
    load: 60s             # until a new replica serves
    warm_load: 20s        # with its weights in host memory
    chunked_prefill_size: 1024
    requests: azure       # lengths: azure, arxiv, cnn, or {prompt: 600, output: 100}
    items: arxiv          # of its batches, likewise
    demand: {rate: 5, swing: 0.5, peak: 14h, wander: true, scale: 1}   # requests/s, a day's
    #       {trace: conv.csv, scale: 2, phase: 10m}          # or a trace, over and over
    frontier:             # none: measured on the simulated engine
      h100: {max_online_work: 20000, segments: [[0.6, 1, 15000]]}   # [alpha, beta, gamma]
  # - name: own             # with request_work nothing is simulated: any model, any device, in
  #   model: my-model       # the work your fleet counts; `slacktide placement export` writes it
  #   request_work: 250     # engine-ms of a mean request; its item_work likewise
  #   item_work: 900
  #   demand: {work: 3000, scale: 2}    # engine-ms/s instead of rate
  #   weights: 16GB
  #   kv_cache: 20GB
  #   other_tensor_parallel_sizes: [2]   # it may have instead; bears as much as of its own
  #   latency_budget: 40    # ms; the other keys as above; none of chunks, requests, items
  #   slo: {ttft: 2s, tpot: 60ms}
# running:                  # replicas that run when the replay begins
#   - {deployment: chat, node: n0000, devices: [0]}
batches:
  - deployment: chat
    items: 10000
    submit: 1h
    deadline: 6h          # on the replay's clock; none: no deadline
    tenant: a
    weight: 1
    count: 4              # so many, `every` apart, deadlines too
    every: 1h
tenants:
  a: 2                    # fair share against the others
  b: {weight: 1, quota: 2000}   # offline work at the most, engine-ms/s
# pins:                     # a node is to have so many replicas of a deployment
#   - {deployment: chat, node: n0000, replicas: 1}
failures:
  - domain: rack0         # or node: n0003
    at: 2h
    for: 30m
"""
"""Every key, with its default or an example."""
