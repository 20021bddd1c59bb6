"""`slacktide replay`: what each policy would do with a workload on some hardware.

Owns the options. Refuses to load the simulator before it is asked for: the program starts
quickly for every other command.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from controlplane.cli.failures import CommandError
from controlplane.cli.output import Format, FormatOption
from controlplane.cli.replay_answer import answer_files, show_answer, write_answer
from controlplane.cli.replay_fleet_command import print_fleet_keys, replay_fleet_file

REPLAY_HELP = """Replays a workload on a simulated engine, once under each policy.

Nothing runs but this program: iterations are simulated with measured or derived operator
times, and planned by the very code that plans them on real engines. All that is random
comes from --seed.

TRACE is an Azure CSV (TIMESTAMP,ContextTokens,GeneratedTokens), a BurstGPT CSV, or a
Mooncake or Qwen-Bailian JSONL, sorted by time; the first line tells which. Instead of a
file, `generated` draws a workload like Azure's conversation trace, and `burst-idle` bursts
with idle phases between them.

--offline is the batch beside it: arxiv, cnn or mmlu draw one like those sets, a file gives
the lengths of its own (CSV with num_prefill_tokens,num_decode_tokens), read over and over;
none runs none.

\b
--policy is one of these, given as often as wanted:
  online-only, offline-only[:CHUNK]    floor and ceiling
  slacktide, hygen                     latency budgets
  rate-cap[:REQUESTS_PER_S]            HyGen*
  blind-hybrid[:TOKENS]                Sarathi++, blind to SLOs
  qoserve[:TBT_MS]                     slack-driven chunks
  sglang-priority, cap[:IN_FLIGHT]     what SGLang does by itself

--slo limits a statistic of all online requests: ttft or itl, mean, p50 or p99; in
milliseconds (itl_p99=80ms), or as a tolerance over what online alone has (itl_p99=10%).
Each policy with a knob is tuned for it, as its authors would, on the window's first
--tune-duration seconds; `none` judges and tunes nothing. --budget sets a budget instead
of tuning it. --bound adds, for each policy that runs the batch beside online requests, what
no scheduler could have passed that serves those requests as timely, even one that knows all
that will come.

\b
Examples:
  slacktide replay generated --report replay.html
  slacktide replay conv.csv --hardware h100 --model llama3-8b --duration 600 \\
      --fit-context --rate-scale 2 --policy slacktide --policy cap --slo ttft_p99=500ms
  slacktide replay --fleet fleet.yaml --report fleet.html
  slacktide placement export > f.yaml; slacktide replay --fleet f.yaml --scale-load chat=2
  slacktide replay burst-idle --slo ttft_p99=15% --policy slacktide --policy cap:8 -o json

With --fleet, a whole fleet over hours instead: nodes, deployments with their demand, batches,
failures, and rounds of the very code that places replicas. --fleet-keys prints its file, and
`slacktide placement export` writes that of a running fleet; --scale-load and --lose-node ask
what a day would be otherwise.

The report is one HTML file that needs nothing else; its figures are written beside it as
JSON. Progress goes to stderr.
"""

_POLICIES = ("online-only", "hygen", "slacktide")
_SLO = ("ttft_p99=25%", "itl_p99=10%")
_LONGEST_S = 1e11  # as in a trace; no option is infinite
_MOST = 1e6  # of rates and factors, likewise


class Predictor(StrEnum):
    """What policies plan by."""

    FITTED = "fitted"
    HYGEN = "hygen"
    ORACLE = "oracle"


def replay_command(
    trace: Annotated[
        str | None,
        typer.Argument(
            metavar="[TRACE]", help="Trace file, or generated, or burst-idle.", show_default=False
        ),
    ] = None,
    fleet: Annotated[
        Path | None,
        typer.Option(help="Replay this fleet instead: nodes, deployments, rounds. YAML."),
    ] = None,
    fleet_keys: Annotated[
        bool, typer.Option("--fleet-keys", help="Print every key of a fleet's file and exit.")
    ] = False,
    scale_load: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DEPLOYMENT=FACTOR", help="With --fleet: suppose this load, e.g. chat=2."
        ),
    ] = None,
    lose_node: Annotated[
        list[str] | None,
        typer.Option(metavar="NODE", help="With --fleet: suppose this node is not there."),
    ] = None,
    hardware: Annotated[
        str, typer.Option(help="Device; an unknown one prints those known.")
    ] = "a100-40gb",
    model: Annotated[
        str, typer.Option(help="Model; an unknown one prints those known.")
    ] = "llama2-7b",
    tensor_parallel_size: Annotated[
        int, typer.Option(min=1, help="Devices that share the model.")
    ] = 1,
    operators: Annotated[
        Path | None,
        typer.Option(help="Measured operator times, Vidur's CSV. Default: derived from sheets."),
    ] = None,
    all_reduce: Annotated[
        Path | None, typer.Option(help="Measured all-reduce times, likewise.")
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(help=f"Policy; repeatable. Default: {', '.join(_POLICIES)}."),
    ] = None,
    predictor: Annotated[
        Predictor,
        typer.Option(help="Time model that policies plan by: fitted, HyGen's, or the truth."),
    ] = Predictor.FITTED,
    offline: Annotated[
        str, typer.Option(metavar="arxiv|cnn|mmlu|none|FILE", help="The batch.")
    ] = "arxiv",
    offline_in_flight: Annotated[
        int, typer.Option(min=1, help="Offline requests the engine holds at once.")
    ] = 64,
    slo: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STATISTIC=LIMIT", help=f"Repeatable; or none. Default: {', '.join(_SLO)}."
        ),
    ] = None,
    budget: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="A budget of hygen and slacktide, such as latency_budget_ms=40; repeatable.",
        ),
    ] = None,
    tune_duration: Annotated[
        float,
        typer.Option(
            min=1, max=_LONGEST_S, help="Seconds of the window that policies are tuned on."
        ),
    ] = 300.0,
    rate: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            max=_MOST,
            help="Requests/s of a generated workload, or of a burst. Default: half of what the"
            " hardware sustains, or most of it in a burst.",
        ),
    ] = None,
    rate_scale: Annotated[
        float, typer.Option(min=0.001, max=_MOST, help="2 replays twice as fast.")
    ] = 1.0,
    length_scale: Annotated[
        float,
        typer.Option(min=0.0001, max=_MOST, help="Factor on online prompt and output tokens."),
    ] = 1.0,
    start: Annotated[
        float, typer.Option(min=0, max=_LONGEST_S, help="Seconds of the trace to skip.")
    ] = 0.0,
    duration: Annotated[
        float | None,
        typer.Option(min=1, max=_LONGEST_S, help="Seconds to replay. Default: all of a trace."),
    ] = None,
    max_requests: Annotated[
        int | None, typer.Option(min=1, help="At most so many online requests.")
    ] = None,
    context_tokens: Annotated[
        int | None, typer.Option(min=2, help="Longest context. Default: the model's.")
    ] = None,
    fit_context: Annotated[
        bool, typer.Option("--fit-context", help="Cut requests longer than the context.")
    ] = False,
    noise: Annotated[
        float, typer.Option(min=0, max=1, help="Deviation of iteration times, as a share.")
    ] = 0.03,
    seed: Annotated[int, typer.Option(help="Of all that is random.")] = 0,
    bound: Annotated[
        bool,
        typer.Option("--bound", help="Also bound what any scheduler could have done; slower."),
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="Write the report, HTML, and its figures beside it.")
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Write the figures there. Default: beside the report."),
    ] = None,
    progress: Annotated[
        bool | None,
        typer.Option(
            "--progress/--no-progress", help="On stderr. Default: where that is a terminal."
        ),
    ] = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Replays a workload; the help text is above."""
    if fleet_keys:
        print_fleet_keys()
        return
    if fleet is not None:
        if trace is not None:
            raise CommandError(f"{trace}: a fleet has its own demand; give either TRACE or --fleet")
        replay_fleet_file(
            fleet,
            files=answer_files(report, json_file),
            scaled_load=scale_load or (),
            lost_nodes=lose_node or (),
            shows_progress=progress,
            output=output,
        )
        return
    if scale_load or lose_node:
        raise CommandError(
            "--scale-load, --lose-node: suppose a fleet otherwise; give --fleet FILE"
        )
    if trace is None:
        raise CommandError("no TRACE; give a file, generated or burst-idle, or --fleet FILE")
    # Here, not above: numpy and the simulator take longer to load than other commands to run.
    from controlplane.cli.replay_options import ReplayOptions
    from controlplane.cli.replay_run import compare

    options = ReplayOptions(
        trace=trace,
        hardware=hardware,
        model=model,
        tensor_parallel_size=tensor_parallel_size,
        operators=operators,
        all_reduce=all_reduce,
        predictor=predictor.value,
        offline=offline,
        offline_in_flight=offline_in_flight,
        rate=rate,
        rate_scale=rate_scale,
        length_scale=length_scale,
        start_s=start,
        duration_s=duration,
        max_requests=max_requests,
        context_tokens=context_tokens,
        fits_context=fit_context,
        noise_ratio=noise,
        seed=seed,
    )
    files = answer_files(report, json_file)  # before anything runs: what cannot be written is told
    document = compare(
        options,
        policies=policy or _POLICIES,
        slo=() if slo == ["none"] else slo or _SLO,
        is_usual_slo=not slo,
        budgets=budget or (),
        tune_duration_s=tune_duration,
        has_bounds=bound,
        shows_progress=progress,
    )
    write_answer(document, **files)
    show_answer(document, output)
