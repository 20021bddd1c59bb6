"""What was simulated and what came of it, in words and in one table.

Owns the paragraph a newcomer reads first, the bars below it and the table of all policies.
Refuses claims beyond the figures: a best policy is named only among those that kept every
target, and ratios only between runs of this document.
"""

from collections.abc import Iterator

from planner.replay.document import ReplayDocument, Run, Target
from planner.replay.histogram import RESOLUTION_RATIO
from planner.replay.report import wording
from planner.replay.report.bounds import bound_row, bounds_words
from planner.replay.report.drawing import WIDTH, area, figure, label, line
from planner.replay.report.markup import element, text
from planner.replay.report.scales import Scale
from planner.replay.report.style import look
from planner.replay.report.tables import Marked, marked, table

_SLO = "The SLO (service-level objective) is kept if"
_ROW, _NAMES, _WORDS = 34.0, 190.0, 250.0


def opening(document: ReplayDocument) -> str:
    """The first paragraphs: what was simulated, by what it is judged, what came of it."""
    outcome = (element("p", text(words)) for words in _outcome(document))
    return (
        element("p", text(_scene(document)), class_="lead")
        + _judgement(document)
        + "".join(outcome)
    )


def bars(document: ReplayDocument) -> str:
    """Offline work of each policy, and whether it kept the targets."""
    runs = [(n, run) for n, run in enumerate(document.runs) if run.runs_offline]
    if not runs:
        return ""
    most = max(run.recorded.offline_tokens_per_s for _, run in runs)
    across = Scale(low=0.0, high=max(1.0, most), start=_NAMES, end=WIDTH - _WORDS)
    height = 8.0 + _ROW * len(runs)
    marks: list[str] = []
    for row, (n, run) in enumerate(runs):
        top = 6.0 + row * _ROW
        end = across.at(run.recorded.offline_tokens_per_s)
        missed = any(not verdict.kept for verdict in run.verdicts(document.targets))
        marks.append(label(run.title, _NAMES - 10, top + 18, anchor="end", classes="name"))
        marks.append(
            area(
                [(across.start, top), (end, top)],
                [(across.start, top + 24), (end, top + 24)],
                f"area {look(n).class_name}{' missed' if missed else ''}",
            )
        )
        rate = f"{wording.number(run.recorded.offline_tokens_per_s)} tokens/s"
        marks.append(label(f"{rate}{_bar_words(run, document)}", end + 8, top + 18))
    marks.append(line([(across.start, 2.0), (across.start, height)], "axis"))
    rows = [
        [run.title, wording.number(run.recorded.offline_tokens_per_s), _verdict_cell(run, document)]
        for _, run in runs
    ]
    return figure(
        name="offline",
        title="Offline work done, and whether online requests kept the SLO",
        described=wording.listed(
            [
                f"{run.title} {wording.number(run.recorded.offline_tokens_per_s)} tokens/s"
                f"{_bar_words(run, document)}"
                for _, run in runs
            ]
        ),
        height=height,
        marks=marks,
        reading=(
            "the longer the bar, the more batch work the policy did beside the same online"
            " requests, in tokens (prompt and output) per second. A pale bar missed the SLO:"
            " its work was paid for by people who waited."
        ),
        table=table(["policy", "offline tokens/s", "SLO"], rows, caption="Offline work"),
    )


def comparison(document: ReplayDocument) -> str:
    """The table of all policies."""
    floor = document.run_of(serves_online=True, runs_offline=False)
    ceiling = document.run_of(serves_online=False, runs_offline=True)
    heads = [
        "policy", "SLO", "TTFT mean", "TTFT p50", "TTFT p99", "ITL mean", "ITL p50", "ITL p99",
        "offline tokens/s", "total tokens/s",
    ]  # fmt: skip
    if floor is not None:
        heads.append("× online only")
    if ceiling is not None:
        heads.append("of offline only")
    rows = [list(_row(run, document, floor=floor, ceiling=ceiling)) for run in document.runs]
    rows += [bound_row(bound, heads=heads) for bound in document.bounds]
    caption = (
        "All policies on the same requests; percentiles are within"
        f" {wording.percent(RESOLUTION_RATIO)} of the exact ones"
    )
    return table(heads, rows, caption=caption, words=2) + bounds_words(document)


def tunings(document: ReplayDocument) -> str:
    """What each policy is, and how its settings were found."""
    rows = [
        [
            run.title,
            Marked(element("code", text(run.policy), class_="name")),
            run.description,
            ", ".join(f"{key} {_setting(value)}" for key, value in run.settings.items()) or "none",
            run.tuning or "none",
        ]
        for run in document.runs
    ]
    heads = ["policy", "name", "what it does", "settings", "tuning"]
    return table(heads, rows, caption="The policies", words=5)


# ------------------------------------------------------------ words


def _scene(document: ReplayDocument) -> str:
    workload, runs = document.workload, document.runs
    origin = (
        "a generated workload, no trace was given"
        if workload.is_generated
        else f"the trace {workload.name}"
    )
    policies = wording.count(len(runs), "policy").replace("policys", "policies")
    words = (
        f"{wording.count(workload.requests, 'online request')}, such as chat users send, over"
        f" {wording.seconds(workload.duration_s)} ({origin}) were replayed on a"
        f" simulated engine, {document.engine}, under {policies}."
    )
    if any(run.runs_offline for run in runs):
        words += (
            " Offline work, such as summarising documents, may fill what the online requests"
            " leave of the engine; the policies differ in when they let it in."
        )
    return f"{words} All of this is a simulation; nothing was measured on hardware."


def _judgement(document: ReplayDocument) -> str:
    targets = [_target_words(target) for target in document.targets]
    if not targets:
        words = "No SLO was set, so no policy is judged by how long online requests waited."
        return element("p", text(words))
    if len(targets) == 1:
        return element("p", text(f"{_SLO} {targets[0]}."))
    return element("p", text(f"{_SLO} all of this holds:")) + element(
        "ul", *(element("li", text(words)) for words in targets)
    )


def _target_words(target: Target) -> str:
    words = f"{wording.statistic_words(target.statistic)} {wording.milliseconds(target.limit_ms)}"
    if target.baseline_ms is None or target.tolerance_ratio is None:
        return words
    return (
        f"{words}, which is {wording.percent(target.tolerance_ratio)} above the"
        f" {wording.milliseconds(target.baseline_ms)} that online requests alone have"
    )


def _outcome(document: ReplayDocument) -> Iterator[str]:
    hybrids = [run for run in document.runs if run.serves_online and run.runs_offline]
    if not hybrids:
        return
    rates = [
        f"{run.title} {wording.number(run.recorded.offline_tokens_per_s)}"
        f"{_bar_words(run, document)}"
        for run in hybrids
    ]
    yield f"Offline tokens per second done beside the online requests: {wording.listed(rates)}."
    if document.targets:
        yield _best_words(document, hybrids)


def _best_words(document: ReplayDocument, hybrids: list[Run]) -> str:
    kept = [run for run in hybrids if _keeps(run, document)]
    if not kept:
        return "No policy that ran offline work kept the SLO."
    ordered = sorted(kept, key=lambda run: run.recorded.offline_tokens_per_s, reverse=True)
    best = ordered[0]
    words = f"Of those that kept the SLO, {best.title} did the most offline work"
    if len(ordered) > 1 and (second := ordered[1].recorded.offline_tokens_per_s) > 0.0:
        ratio = best.recorded.offline_tokens_per_s / second
        words += f", {ratio:.2f} times that of {ordered[1].title}"
    floor = document.run_of(serves_online=True, runs_offline=False)
    if floor is not None and floor.recorded.total_tokens_per_s > 0.0:
        ratio = best.recorded.total_tokens_per_s / floor.recorded.total_tokens_per_s
        words += f"; online and offline together, the engine did {ratio:.2f} times the work"
        words += " of online requests alone"
    return f"{words}."


def _bar_words(run: Run, document: ReplayDocument) -> str:
    if not run.serves_online:
        return " (no online requests)"
    if not document.targets:
        return ""
    return " (SLO kept)" if _keeps(run, document) else " (SLO missed)"


def _keeps(run: Run, document: ReplayDocument) -> bool:
    return all(verdict.kept for verdict in run.verdicts(document.targets))


# ------------------------------------------------------------ cells


def _row(
    run: Run, document: ReplayDocument, *, floor: Run | None, ceiling: Run | None
) -> Iterator[str]:
    recorded = run.recorded
    offline, total = recorded.offline_tokens_per_s, recorded.total_tokens_per_s
    yield run.title
    yield _verdict_cell(run, document)
    missed = {v.statistic for v in run.verdicts(document.targets) if not v.kept}
    for metric, distribution in (("ttft", recorded.ttft_ms), ("itl", recorded.itl_ms)):
        for figure_name in ("mean", "p50", "p99"):
            statistic = f"{metric}_{figure_name}_ms"
            words = wording.milliseconds(run.statistic_ms(statistic)) if distribution.count else "–"
            yield marked(words, "lost") if statistic in missed else words
    yield wording.number(offline)
    yield wording.number(total)
    if floor is not None:
        base = floor.recorded.total_tokens_per_s
        yield f"{total / base:.2f}" if base > 0.0 and run.serves_online else "–"
    if ceiling is not None:
        yield _share_cell(offline, ceiling.recorded.offline_tokens_per_s)


def _share_cell(part: float, whole: float) -> str:
    return wording.percent(part / whole) if whole > 0.0 else "–"


def _verdict_cell(run: Run, document: ReplayDocument) -> str:
    if not run.verdicts(document.targets):
        return "–"
    return marked("✓ kept", "kept") if _keeps(run, document) else marked("✗ missed", "lost")


def _setting(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
