"""Requests over time: read from public traces, or generated like them.

Map:
    request    one request of a workload: when, how long, which prefix it shares
    traces     the Azure, BurstGPT, Mooncake and Qwen-Bailian trace formats
    lengths    tables of offline lengths
    lines      what all readers share: columns, counts, errors that name their line
    generate   arrivals and lengths with the statistics of the Azure conversation trace
    bursts     bursts and idle phases in turn
    offline    offline lengths like those of arXiv summarisation and CNN/DailyMail
    mmlu       questions that share their subject's examples as a prefix
    quantiles  drawing from a table of quantiles
    shape      slicing, time and length scaling, fitting a context
    content    token ids of a request's prompt, equal wherever prefixes are shared
    batches    JSONL lines of an offline batch
"""
