"""The command line `slacktide`: noun, verb, and nothing decided here.

Map:
    app         the program: nouns mounted, errors printed, exit codes
    connection  which control plane
    failures    errors as one clear line, exit codes
    output      table, JSON, YAML; data on stdout, progress on stderr
    listed      all nodes and deployments, page by page
    lookup      unique id prefixes, shell completion
    manifest    deployments written in YAML
    wording     enums, times, sizes and durations as people read them
    nodes, deployments, replicas, batches, placement, rollout, tenants, cluster
                one noun each
    node_labels the verb that reads and changes labels of a node
    placement_* one family of verbs each; placement_words and placement_formats say plans
    fleetpage*  a picture of the fleet: read, boxes, nodes, tables, words, style
    load        the open-loop load generator
    replay      what-ifs on a simulated engine: replay_options what is asked for,
                replay_workloads and replay_inputs what is simulated, replay_facts what a
                reader is told of it, replay_run the comparison and its progress
"""
