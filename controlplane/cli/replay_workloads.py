"""The online requests and the batch that `slacktide replay` was asked for.

Owns opening trace and length files, and which generators stand behind which word. Refuses to
hold a workload: each is made anew whenever it is asked for, one request at a time.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from math import ceil, floor
from pathlib import Path

from controlplane.cli.failures import CommandError
from controlplane.cli.replay_options import (
    BURST_IDLE,
    GENERATED,
    ReplayOptions,
    opened_again,
    refusing,
)
from planner.hardware.machine import Machine
from planner.replay.capacity import sustained_requests_per_s
from planner.replay.document import Workload
from planner.workload.bursts import (
    GATEWAY_IDLE_RATIO,
    GATEWAY_OUTPUT_TOKENS,
    GATEWAY_PROMPT_TOKENS,
    BurstShape,
    bursts,
    gateway_shape,
)
from planner.workload.generate import generate
from planner.workload.lengths import stream_lengths
from planner.workload.mmlu import mmlu
from planner.workload.offline import arxiv_summarization, cnn_dailymail
from planner.workload.request import WorkloadRequest
from planner.workload.shape import fit_context, shape_stream
from planner.workload.traces import stream_trace

_GENERATED_S, _BURST_IDLE_S = 180.0, 900.0  # default windows; the second: five cycles
_LONGEST_UNASKED_S = 366 * 86_400.0  # the longest public trace spans some months
_AZURE_TOKENS = (1155, 211)  # means of the conversation trace's prompts and outputs
_GENERATED_LOAD = 0.5  # of what the machine sustains

Requests = Callable[[], Iterable[WorkloadRequest]]
"""Makes a workload anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlineRequests:
    """The online workload.

    Attributes:
        requests: Makes it anew: sliced, scaled, cut to the context.
        workload: Its sums.
        cut: Requests that the context cut.
        requests_per_s: Where it was generated, at which rate.
    """

    requests: Requests
    workload: Workload
    cut: int
    requests_per_s: float | None


def online_requests(options: ReplayOptions, machine: Machine) -> OnlineRequests:
    """Reads the online workload through, once.

    Raises:
        CommandError: A file that cannot be read, with its line, or a slice without requests.
        OSError: A file that cannot be opened.
    """
    context_tokens = machine.model.context_tokens
    drawn, rate = _drawn(options, machine)
    duration_s = _window_s(options)
    sliced = partial(
        shape_stream,
        start_s=options.start_s,
        duration_s=duration_s,
        count=options.max_requests,
        rate_scale=options.rate_scale,
        length_scale=options.length_scale,
    )
    workload, cut = _survey(
        sliced(drawn()), options=options, duration_s=duration_s, context_tokens=context_tokens
    )
    return OnlineRequests(
        requests=lambda: sliced(drawn(), max_context_tokens=context_tokens),
        workload=workload,
        cut=cut,
        requests_per_s=rate,
    )


def _drawn(options: ReplayOptions, machine: Machine) -> tuple[Requests, float | None]:
    """The workload as it is before slicing and scaling, and its rate where that was chosen."""
    if not options.is_generated:
        if options.rate is not None:
            raise CommandError("--rate is of a generated workload; a trace takes --rate-scale")
        most_tokens = floor(machine.model.context_tokens / options.length_scale)
        return partial(_trace, options, most_tokens=most_tokens), None
    # Long enough for what is skipped and for a faster replay.
    length_s = options.start_s + (_window_s(options) or 0.0) * options.rate_scale
    if options.trace == GENERATED:
        sustained = _sustained(machine, *_AZURE_TOKENS)
        rate = options.rate or round(_GENERATED_LOAD * sustained, 3)
        return partial(generate, seed=options.seed, duration_s=length_s, requests_per_s=rate), rate
    shape = gateway_shape(_sustained(machine, GATEWAY_PROMPT_TOKENS, GATEWAY_OUTPUT_TOKENS))
    if options.rate is not None:
        shape = BurstShape(
            burst_requests_per_s=options.rate,
            idle_requests_per_s=options.rate * GATEWAY_IDLE_RATIO,
        )
    cycles = ceil(length_s / shape.cycle_s)
    return partial(
        bursts, seed=options.seed, shape=shape, cycles=cycles
    ), shape.burst_requests_per_s


def _sustained(machine: Machine, prompt_tokens: int, output_tokens: int) -> float:
    return sustained_requests_per_s(
        machine, prompt_tokens=prompt_tokens, output_tokens=output_tokens
    )


def _trace(options: ReplayOptions, *, most_tokens: int) -> Iterator[WorkloadRequest]:
    path = Path(options.trace)
    with refusing(path), opened_again(path) as lines:
        yield from stream_trace(
            lines, max_context_tokens=None if options.fits_context else most_tokens
        )


def _window_s(options: ReplayOptions) -> float | None:
    """The window asked for; None: to the last request."""
    defaults = {GENERATED: _GENERATED_S, BURST_IDLE: _BURST_IDLE_S}
    return defaults.get(options.trace) if options.duration_s is None else options.duration_s


def _survey(
    requests: Iterable[WorkloadRequest],
    *,
    options: ReplayOptions,
    duration_s: float | None,
    context_tokens: int,
) -> tuple[Workload, int]:
    """Reads the slice through: its sums, and how many requests the context cuts."""
    found = prompt_tokens = output_tokens = cut = 0
    last_s = 0.0
    for request in requests:
        found += 1
        fitted = fit_context(request, context_tokens)
        cut += fitted is not request and fitted != request
        prompt_tokens += fitted.prompt_tokens
        output_tokens += fitted.output_tokens
        last_s = request.at_s
    if not found:
        raise CommandError(
            f"{options.trace}: no request at or after --start {options.start_s:g} s within the"
            " window; choose an earlier --start or a longer --duration"
        )
    ends_s = floor(last_s) + 1.0
    is_cut = found == options.max_requests or not options.is_generated
    if duration_s is None or (is_cut and ends_s < duration_s):
        duration_s = ends_s
    if options.duration_s is None and duration_s > _LONGEST_UNASKED_S:
        raise CommandError(
            f"{options.trace}: the last request is {duration_s / 86_400:.0f} days after the first;"
            " give a --duration, or see whether its stamps have the unit they should"
        )
    workload = Workload(
        name=options.trace if options.is_generated else Path(options.trace).name,
        is_generated=options.is_generated,
        requests=found,
        duration_s=duration_s,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
    )
    return workload, cut


def offline_requests(options: ReplayOptions, *, context_tokens: int) -> Requests:
    """The batch; without end, but for none.

    Raises:
        CommandError: A file that cannot be read, with its line, or one without a request.
        OSError: A file that cannot be opened.
    """
    seed = options.seed
    draws: dict[str, Requests] = {
        "arxiv": partial(arxiv_summarization, seed=seed),
        "cnn": partial(cnn_dailymail, seed=seed),
        "mmlu": partial(mmlu, seed=seed),
        "none": tuple,
    }
    draw = draws.get(options.offline)
    if draw is not None:
        return lambda: (fit_context(request, context_tokens) for request in draw())
    path = Path(options.offline)
    read = partial(_lengths, options, path=path, context_tokens=context_tokens)
    if not sum(1 for _ in read()):  # the whole of it: a broken line is told at once
        raise CommandError(f"{path}: no request; give a table with at least one")
    return lambda: (request for _ in count() for request in read())


def _lengths(
    options: ReplayOptions, *, path: Path, context_tokens: int
) -> Iterator[WorkloadRequest]:
    most_tokens = None if options.fits_context else context_tokens
    with refusing(path), opened_again(path) as lines:
        for request in stream_lengths(lines, max_context_tokens=most_tokens):
            yield fit_context(request, context_tokens)
