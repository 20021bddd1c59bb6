"""What the JSON of a replay holds, and that it reads back."""

import json
import math

import pytest
from document_samples import BOUND, durations, policy_run, sample
from hypothesis import given
from hypothesis import strategies as st

from planner.replay.codec import DocumentError, decoded, encoded
from planner.replay.document import SCHEMA, Target, from_values, to_values
from planner.replay.histogram import Distribution, LogHistogram


def written(document):
    """Through text, as a file holds it."""
    return json.loads(json.dumps(to_values(document), allow_nan=False))


def test_document_reads_back_as_it_was():
    """Every field, through JSON text."""
    document = sample()
    assert from_values(written(document)) == document
    assert from_values(written(sample(targets=()))) == sample(targets=())
    assert from_values(written(sample(bounds=(BOUND,)))) == sample(bounds=(BOUND,))


def test_bound_is_written_with_the_share_that_was_done():
    """For readers; a document of before there were bounds has none."""
    (entry,) = written(sample(bounds=(BOUND,)))["bounds"]
    assert entry["policy"] == "slacktide" and entry["offline_tokens_per_s"] == 5200.0
    assert entry["done_ratio"] == BOUND.done_ratio == 0.5
    older = written(sample())
    assert older.pop("bounds") == []
    assert from_values(older).bounds == ()


@given(st.lists(st.floats(0.0, 1e9), max_size=60))
def test_distribution_reads_back_bucket_by_bucket(samples):
    """Whatever was counted, no figure changes on the way."""
    histogram = LogHistogram()
    histogram.add_all(samples)
    kept = histogram.distribution()
    assert decoded(Distribution, json.loads(json.dumps(encoded(kept))), path="d") == kept


def test_figures_and_verdicts_are_written_for_readers():
    """What a reader would compute stands there, and follows from the rest."""
    document = sample()
    values = written(document)
    assert values["schema"] == SCHEMA and next(iter(values)) == "schema"
    for run, entry in zip(document.runs, values["runs"], strict=True):
        figures = entry["figures"]
        assert figures["offline_tokens_per_s"] == run.recorded.offline_tokens_per_s
        assert figures["itl_ms"]["p99"] == run.recorded.itl_ms.quantile(0.99)
        assert [v["kept"] for v in entry["verdicts"]] == [
            v.kept for v in run.verdicts(document.targets)
        ]


def test_verdict_holds_the_statistic_against_its_limit():
    """Mean and percentile, each by its own figure; a run without online has none."""
    run = policy_run("p", "P", itl_ms=30.0)
    p99, mean = durations(30.0, count=4000).quantile(0.99), run.recorded.ttft_ms.mean
    kept, lost = run.verdicts(
        (
            Target(statistic="itl_p99_ms", limit_ms=p99),
            Target(statistic="ttft_mean_ms", limit_ms=mean * 0.999),
        )
    )
    assert kept.kept and kept.measured_ms == p99
    assert not lost.kept and lost.measured_ms == mean
    ceiling = policy_run("o", "O", serves_online=False)
    assert ceiling.verdicts((Target(statistic="itl_p99_ms", limit_ms=1.0),)) == ()


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda v: v.pop("engine"), "document.engine: is missing"),
        (lambda v: v["runs"][1].pop("recorded"), r"document.runs\[1\].recorded: is missing"),
        (lambda v: v["workload"].update(requests="many"), "document.workload.requests"),
        (lambda v: v["runs"][0]["recorded"]["bins"].update(bin_s=0.0), "bins of 0.0 s"),
        (lambda v: v.update(runs={}), "document.runs: dict, must be an array"),
        (lambda v: v.update(schema="slacktide.replay/0"), "must be 'slacktide.replay/1'"),
        (
            lambda v: v["runs"][0]["recorded"]["itl_ms"]["buckets"].append([1.0]),
            "1 values, must be 2",
        ),
    ],
)
def test_document_that_is_broken_says_where(change, where):
    """A path into the JSON, and what should be there."""
    values = written(sample())
    change(values)
    with pytest.raises(DocumentError, match=where):
        from_values(values)


def test_numbers_json_has_no_word_for_are_refused():
    """An infinity would be read by no one else."""
    with pytest.raises(DocumentError, match="inf"):
        to_values(sample(configuration={"Simulation": {"limit": math.inf}}))


def test_equal_documents_give_equal_text():
    """Nothing of the day or the machine is in it."""
    assert json.dumps(to_values(sample())) == json.dumps(to_values(sample()))
