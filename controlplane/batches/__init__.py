"""Batches: files in, items out to agents, results back, files out.

Owns the law of a batch: execution is at least once, commit exactly once; every input
line ends as exactly one line of the output or the error file. Refuses to hold anything
of a batch in memory that a restart would need.

Map:
    objects   immutable objects over fsspec: inputs, segments, result files
    ranges    pieces of objects, by offset
    upload    an input file on its way in
    lines     an input file, read by lines in bounded memory
    parse     one input line: an item, or why not
    render    lines of the output and the error file
    intake    input file -> items, chunk by chunk
    finalise  items and segments -> output and error file
    worker    the loops that drive both, resumed at start
    messages  batches and leases, to protobuf and back
    items     ItemService: pull, commit, return
    service   BatchService: upload, create, get, list, cancel, download
"""
