"""Requests over time: read from public traces, or generated like them.

Map:
    request   one request of a workload: when, how long, which prefix it shares
    traces    the Azure and Mooncake trace formats
    generate  arrivals and lengths with the statistics of the Azure conversation trace
    shape     slicing, time and length scaling, fitting a context
    content   token ids of a request's prompt, equal wherever prefixes are shared
    batches   JSONL lines of an offline batch
"""
