"""The page, from its first paragraph to its glossary.

Owns the order: what was simulated, what came of it, the drawings, the table, the settings and
seeds, the glossary. Refuses scripts and addresses: the page opens nothing.
"""

from planner.replay.document import ReplayDocument
from planner.replay.report.iterations import iteration_times
from planner.replay.report.latencies import latencies
from planner.replay.report.markup import element, text
from planner.replay.report.style import style_sheet
from planner.replay.report.summary import bars, comparison, opening, tunings
from planner.replay.report.tables import settings_table
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
        _notes(document),
        _section("Results", bars(document), comparison(document)),
        _section("Over time", throughput(document), progress(document)),
        _section(
            "How long online requests waited",
            latencies(document, metric="ttft"),
            latencies(document, metric="itl"),
        ),
        _section("Iterations", iteration_times(document)),
        _section("Policies and settings", tunings(document), _configuration(document)),
        _section("Glossary", _glossary()),
    ]
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", text(title)),
        style_sheet(),
    )
    body = element("body", element("main", *parts))
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _section(title: str, *parts: str) -> str:
    if not any(parts):
        return ""
    return element("section", element("h2", text(title)), *parts)


def _notes(document: ReplayDocument) -> str:
    if not document.notes:
        return ""
    entries = "".join(element("li", text(note)) for note in document.notes)
    return element("div", element("ul", entries), class_="notes", role="note")


def _configuration(document: ReplayDocument) -> str:
    tables = (
        settings_table(section, settings) for section, settings in document.configuration.items()
    )
    return element("div", *tables, class_="columns")


def _glossary() -> str:
    return element(
        "dl",
        *(element("dt", text(word)) + element("dd", text(words)) for word, words in _GLOSSARY),
    )
