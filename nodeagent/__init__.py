"""The node agent: supervises engines, proxies requests, pulls offline items.

Imports planner; meets the control plane only in `proto/`.

Map:
    __main__, settings, devices   the command line, and the devices it names
    agent                         composition, and the order of the end
    session, lease                hello, reports, grants and assignments
    assignment, assignment_store  what shall run, and its file
    codec                         protobuf at the border
    reconciler, replica           assignment -> running replicas; one replica's life
    engine/                       engine processes and their HTTP interface
    inference/, aborts            online requests; requests that end early
    offline/                      batch items
    telemetry, fits, latencies, work, status
                                  what is measured, fitted and reported
    catalog, models/              model folders
    hostmemory, warmth, residency host memory, and the models whose weights lie in it
    plugin_contract               what agent and scheduler plugin exchange
    sglang_plugin/                what runs inside SGLang
"""
