"""A comparison of policies, run from the command line.

Owns progress on a terminal, and the document that the comparison comes to. Refuses files.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from time import monotonic

from slacktide.wire.version import build_version

from controlplane.cli.failures import CommandError
from controlplane.cli.replay_inputs import read_inputs
from controlplane.cli.replay_options import ReplayOptions
from planner.batching.state import Budgets
from planner.hardware.truth import ground_truth
from planner.replay.bounding import clairvoyant_bound, is_bounded
from planner.replay.comparison import Compared, Comparison
from planner.replay.document import ClairvoyantBound, Fact, ReplayDocument
from planner.replay.policies import UnknownPolicyError, policy_named
from planner.replay.scenario import Scenario
from planner.replay.terms import SloError, slo_terms

_TUNING_PROBES = 40
_SHOW_EVERY_S = 0.2  # on a terminal; elsewhere a line
_TELL_EVERY_S = 10.0
_RECONSTRUCTED = ("hygen", "rate-cap")
_BOUND_NOTE = (
    "A bound holds for every scheduler, even one that knows all arrivals, lengths and durations,"
    " that serves online requests as timely and the batch as orderly as the policy beside it did"
    " on iterations without noise; preempting and computing again cost nothing in it, so it is"
    " loose where online load is heavy."
)


def compare(
    options: ReplayOptions,
    *,
    policies: Sequence[str],
    slo: Sequence[str],
    is_usual_slo: bool,
    budgets: Sequence[str],
    tune_duration_s: float,
    has_bounds: bool,
    shows_progress: bool | None,
) -> ReplayDocument:
    """Replays the workload under each policy, and bounds what any could have done if asked.

    Raises:
        CommandError: What was asked for cannot be, or a file cannot be read.
    """
    try:
        terms = slo_terms(slo)
    except SloError as error:
        raise CommandError(str(error)) from error
    given = _budgets(budgets)
    try:
        for name in policies:
            policy_named(name, budgets=Budgets())
    except UnknownPolicyError as error:
        raise CommandError(str(error)) from error
    progress = TerminalProgress(shows_progress)
    progress.tell("reading the workload, fitting the predictor")
    inputs = read_inputs(options)
    comparison = Comparison(
        scenario=inputs.scenario,
        policies=policies,
        slo=terms,
        slice_s=tune_duration_s,
        budgets=given,
        max_probes=_TUNING_PROBES,
        progress=progress,
        is_usual=is_usual_slo,
    )
    try:
        found = comparison.run()
        bounded = _bounds(found, inputs.scenario, given, progress) if has_bounds else ()
    except SloError as error:
        raise CommandError(f"{error}; --slo none replays a short trace as well") from error
    finally:
        progress.close()
    simulation: dict[str, Fact] = {
        **inputs.configuration["Simulation"],
        "policies": ", ".join(policies),
        "slo": ", ".join(slo) or "none",
        "tune_duration_s": tune_duration_s,
        **{name: float(value) for name, value in given.items()},
    }
    return ReplayDocument(
        version=build_version(),
        workload=inputs.workload,
        engine=inputs.engine,
        targets=found.targets,
        runs=found.runs,
        configuration={**inputs.configuration, "Simulation": simulation},
        notes=(
            *inputs.notes,
            *found.notes,
            *_policy_notes(policies),
            *([_BOUND_NOTE] if bounded else []),
        ),
        bounds=bounded,
    )


def _bounds(
    found: Compared, scenario: Scenario, given: Mapping[str, float], progress: "TerminalProgress"
) -> tuple[ClairvoyantBound, ...]:
    """One for each policy that ran offline work beside online requests."""
    truth = partial(ground_truth, scenario.machine, noise_ratio=0.0)
    bounds = []
    for run in found.runs:
        if is_bounded(run):
            progress.close()
            progress.tell(f"bounding what any scheduler could have done beside {run.title}")
            noiseless = replace(scenario, truth=truth)
            bounds.append(clairvoyant_bound(noiseless, run, given=given))
    return tuple(bounds)


class TerminalProgress:
    """How far each replay is, and how fast, on stderr.

    On a terminal one line is rewritten; elsewhere, where asked, lines follow each other.
    """

    def __init__(self, shows: bool | None) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._shows = self._is_terminal if shows is None else shows
        self._every_s = _SHOW_EVERY_S if self._is_terminal else _TELL_EVERY_S
        self._what, self._to_s, self._at_s = "", 0.0, 0.0
        self._began_s = self._shown_s = 0.0

    def tell(self, words: str) -> None:
        """Says what takes a moment before the first replay."""
        if self._shows:
            print(words, file=sys.stderr, flush=True)

    def begin(self, what: str, *, to_s: float) -> None:
        """A replay begins; the one before it has ended."""
        self.close()
        self._what, self._to_s, self._at_s = what, to_s, 0.0
        self._began_s = self._shown_s = monotonic()

    def reach(self, at_s: float) -> None:
        """Shows it every now and then."""
        self._at_s = at_s
        if self._shows and (now_s := monotonic()) - self._shown_s >= self._every_s:
            self._shown_s = now_s
            self._show(now_s, end="" if self._is_terminal else "\n")

    def close(self) -> None:
        """The replay has ended."""
        if self._shows and self._what:
            self._show(monotonic(), end="\n")
        self._what = ""

    def _show(self, now_s: float, *, end: str) -> None:
        at_s = min(self._at_s, self._to_s)  # the last requests end beyond the window
        speed = self._at_s / max(1e-6, now_s - self._began_s)
        start = "\r\x1b[K" if self._is_terminal else ""
        print(
            f"{start}{self._what}: {at_s:.0f} of {self._to_s:.0f} s simulated,"
            f" {speed:.0f} × real time",
            end=end, file=sys.stderr, flush=True,
        )  # fmt: skip


def _budgets(texts: Sequence[str]) -> dict[str, float]:
    """Budgets as given; only numbers can be."""
    allowed = {item.name: item.type for item in fields(Budgets) if item.type in (int, float)}
    given: dict[str, float] = {}
    for text in texts:
        name, _, digits = (part.strip() for part in text.partition("="))
        if name not in allowed:
            raise CommandError(f"budget {text!r}: {name!r} is none; allowed: {', '.join(allowed)}")
        try:
            value = float(digits)
        except ValueError:
            raise CommandError(f"budget {text!r}: {digits!r} is no number") from None
        if not 0.0 <= value < float("inf"):
            raise CommandError(f"budget {text!r}: must be finite and >= 0")
        if allowed[name] is int and not value.is_integer():
            raise CommandError(f"budget {text!r}: must be a whole number")
        given[name] = value
    return given


def _policy_notes(policies: Sequence[str]) -> Iterator[str]:
    if any(name.partition(":")[0] in _RECONSTRUCTED for name in policies):
        yield "HyGen and HyGen* are reconstructions: the paper's code was not to be had."
