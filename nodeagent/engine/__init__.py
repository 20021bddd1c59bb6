"""Engines as supervised child processes, spoken to over loopback HTTP.

Map:
    command     a replica's needs and its devices -> argv and environment, pure
    backoff     when a crashed engine starts again and when that is a crash loop, pure
    reaper      the small parent of every engine: no process outlives the agent
    process     one engine process under its reaper: start, wait, stop
    logs        one log file per start, old ones dropped, the line that says why it died
    supervisor  keeps one engine up: readiness, restart, crash loop, stop
    client      the engine's HTTP interface
    errors      what can go wrong in talking to an engine
"""
