"""The page, from its first paragraph to its glossary.

Owns the order: what was simulated, what came of it, the drawings, the table, the settings and
seeds, the glossary. Refuses scripts and addresses: the page opens nothing.
"""

from planner.replay.document import ReplayDocument
from planner.replay.report.iterations import iteration_times
from planner.replay.report.latencies import latencies
from planner.replay.report.markup import element, text
from planner.replay.report.sections import configured, page, remarks, section
from planner.replay.report.summary import bars, comparison, opening, tunings
from planner.replay.report.timeline import progress, throughput

_GLOSSARY = (
    (
        "Online request, offline request",
        "An online request has someone waiting for it, as in a chat. An offline request is one"
        " line of a batch, such as a document to summarise: it has to be done, but not now.",
    ),
    (
        "Token, prompt, output",
        "Models read and write text in tokens, about three quarters of an English word each."
        " The prompt is read at once (prefill), the output is written one token per iteration"
        " (decode).",
    ),
    (
        "Iteration",
        "One step of the engine: it reads a piece of some prompts and writes the next token of"
        " every running request. All requests of an iteration wait for its end, so offline work"
        " in it makes online requests wait.",
    ),
    ("TTFT", "Time to first token: from the moment a request is sent to its first output token."),
    (
        "ITL",
        "Inter-token latency: the gap between two output tokens of a request that follow each"
        " other. Papers also call it TBT.",
    ),
    (
        "SLO",
        "Service-level objective: the limits that latencies of online requests must keep, here"
        " on a mean or a percentile over all requests of the window. A tolerance of 10 % means"
        " 10 % above what the same requests have without any offline work.",
    ),
    (
        "p50, p99",
        "Percentiles: half of all samples are at most the p50, 99 % at most the p99.",
    ),
    (
        "Budget",
        "How many milliseconds an iteration with offline work in it may be planned to last:"
        " the latency budget while online requests are in the engine, the idle budget while"
        " none is.",
    ),
    (
        "Predictor",
        "A model of how long an iteration will take, by which a policy plans. It is not what"
        " the simulation takes as the truth, unless the settings say oracle.",
    ),
    (
        "Bound",
        "What no scheduler can pass, computed and not replayed: not even one that knows every"
        " arrival and length beforehand. It is proved by leaving out what is hard to keep, so"
        " what can be done may lie well below it.",
    ),
    (
        "KV cache",
        "The memory in which an engine keeps what it has computed of running requests, counted"
        " in tokens. Where it is full, offline requests give theirs up and start again.",
    ),
)


def report_html(document: ReplayDocument) -> str:
    """The report as one page.

    Args:
        document: What was found, with one run at least.

    Returns:
        HTML that needs nothing else; it is well-formed XML, too.

    Raises:
        ValueError: The document holds no run.
    """
    if not document.runs:
        raise ValueError("the document holds no run; replay at least one policy")
    workload = "a generated workload" if document.workload.is_generated else document.workload.name
    title = f"Replay of {workload}: {document.engine}"
    parts = [
        element("h1", text(title)),
        element("p", text(f"Slacktide {document.version}, simulated"), class_="under"),
        opening(document),
        remarks(document.notes),
        section("Results", bars(document), comparison(document)),
        section("Over time", throughput(document), progress(document)),
        section(
            "How long online requests waited",
            latencies(document, metric="ttft"),
            latencies(document, metric="itl"),
        ),
        section("Iterations", iteration_times(document)),
        section("Policies and settings", tunings(document), configured(document.configuration)),
        section("Glossary", _glossary()),
    ]
    return page(title, *parts)


def _glossary() -> str:
    return element(
        "dl",
        *(element("dt", text(word)) + element("dd", text(words)) for word, words in _GLOSSARY),
    )
