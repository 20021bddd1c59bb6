"""MMLU, asked as its authors ask it: five solved examples of the subject, then a question.

Owns how much of a prompt its subject's examples are, which every question of the subject
shares as leading blocks, and how long questions are. Refuses content and arrival times:
every request is there at 0. Invariants: equal leading block ids are equal prefixes; two
subjects share no block; equal seeds give equal requests; a longer count only appends.

Source: Hendrycks et al., ICLR 2021 (MIT): 57 subjects, 14,042 test questions, prompts in
the authors' five-shot format, one letter to answer. Lengths were counted with Llama's
tokenizer: each subject's examples exactly, questions on every twelfth one and from their
characters. A question is its subject's mean length times a ratio, whose quantiles are of
all questions; lengths within one subject are thereby an approximation. On average a prompt
has 687 tokens of examples and 122 of its question.

Questions arrive shuffled over the subjects, so that whoever serves them in order of arrival
meets another prefix each time.
"""

import random
from collections.abc import Iterator
from typing import NamedTuple

from planner.workload.offline import limited
from planner.workload.quantiles import Quantiles, invert
from planner.workload.request import WorkloadRequest


class _Subject(NamedTuple):
    name: str
    questions: int
    examples_tokens: int  # "The following are multiple choice questions ..." and five of them
    question_tokens: int  # mean, choices and "Answer:" included


MMLU_BLOCK_TOKENS = 16  # so that whole blocks miss a prefix by 8 tokens at most

_MOST_BLOCKS = 1 << 12  # of one subject's examples; keeps ids of subjects apart

# (share of questions, length over its subject's mean), all 14,042.
_QUESTION_RATIOS: Quantiles = (
    (0.0, 0.118), (0.01, 0.307), (0.025, 0.384), (0.05, 0.444), (0.10, 0.523), (0.20, 0.642),
    (0.30, 0.742), (0.40, 0.839), (0.50, 0.929), (0.60, 1.011), (0.70, 1.116), (0.80, 1.277),
    (0.90, 1.549), (0.95, 1.817), (0.975, 2.099), (0.99, 2.554), (0.999, 4.298), (1.0, 10.432),
)  # fmt: skip

_SUBJECTS = (
    _Subject("abstract_algebra", 100, 321, 72),
    _Subject("anatomy", 135, 333, 74),
    _Subject("astronomy", 152, 593, 83),
    _Subject("business_ethics", 100, 582, 83),
    _Subject("clinical_knowledge", 265, 410, 70),
    _Subject("college_biology", 144, 461, 86),
    _Subject("college_chemistry", 100, 528, 85),
    _Subject("college_computer_science", 100, 781, 122),
    _Subject("college_mathematics", 100, 557, 92),
    _Subject("college_medicine", 173, 478, 130),
    _Subject("college_physics", 102, 454, 91),
    _Subject("computer_security", 100, 350, 65),
    _Subject("conceptual_physics", 235, 281, 51),
    _Subject("econometrics", 114, 573, 104),
    _Subject("electrical_engineering", 145, 439, 56),
    _Subject("elementary_mathematics", 378, 531, 73),
    _Subject("formal_logic", 126, 563, 110),
    _Subject("global_facts", 100, 416, 51),
    _Subject("high_school_biology", 310, 502, 88),
    _Subject("high_school_chemistry", 203, 473, 82),
    _Subject("high_school_computer_science", 100, 865, 125),
    _Subject("high_school_european_history", 165, 2759, 392),
    _Subject("high_school_geography", 198, 379, 59),
    _Subject("high_school_government_and_politics", 193, 445, 81),
    _Subject("high_school_macroeconomics", 390, 365, 77),
    _Subject("high_school_mathematics", 270, 497, 77),
    _Subject("high_school_microeconomics", 238, 366, 77),
    _Subject("high_school_physics", 151, 509, 118),
    _Subject("high_school_psychology", 545, 510, 72),
    _Subject("high_school_statistics", 216, 772, 140),
    _Subject("high_school_us_history", 204, 2182, 347),
    _Subject("high_school_world_history", 237, 1238, 395),
    _Subject("human_aging", 223, 303, 56),
    _Subject("human_sexuality", 131, 332, 63),
    _Subject("international_law", 121, 623, 100),
    _Subject("jurisprudence", 108, 368, 82),
    _Subject("logical_fallacies", 163, 422, 75),
    _Subject("machine_learning", 112, 642, 78),
    _Subject("management", 103, 262, 50),
    _Subject("marketing", 234, 398, 68),
    _Subject("medical_genetics", 100, 340, 71),
    _Subject("miscellaneous", 783, 287, 56),
    _Subject("moral_disputes", 346, 461, 78),
    _Subject("moral_scenarios", 895, 631, 119),
    _Subject("nutrition", 306, 609, 82),
    _Subject("philosophy", 311, 304, 68),
    _Subject("prehistory", 324, 539, 80),
    _Subject("professional_accounting", 282, 699, 118),
    _Subject("professional_law", 1534, 1617, 294),
    _Subject("professional_medicine", 272, 1100, 224),
    _Subject("professional_psychology", 612, 557, 86),
    _Subject("public_relations", 110, 406, 72),
    _Subject("security_studies", 245, 1193, 180),
    _Subject("sociology", 201, 427, 80),
    _Subject("us_foreign_policy", 100, 405, 71),
    _Subject("virology", 166, 334, 68),
    _Subject("world_religions", 171, 248, 47),
)


def mmlu(
    *, seed: int, count: int | None = None, block_tokens: int = MMLU_BLOCK_TOKENS
) -> Iterator[WorkloadRequest]:
    """Draws MMLU's questions, shuffled over its subjects.

    After all 14,042 the set is asked again, in another order.

    Args:
        seed: says everything that is drawn.
        count: requests, >= 0; None: without end.
        block_tokens: tokens a shared block stands for, >= 1; a subject's examples are
            rounded to whole blocks.

    Raises:
        ValueError: count or block_tokens out of range; at the call.
    """
    if block_tokens < 1:
        raise ValueError(f"block_tokens {block_tokens}: must be >= 1")
    return limited(_shuffled(random.Random(f"{seed}/mmlu"), block_tokens), count)


def _shuffled(source: random.Random, block_tokens: int) -> Iterator[WorkloadRequest]:
    prefixes = [_prefix(number, block_tokens) for number in range(len(_SUBJECTS))]
    asked = [n for n, subject in enumerate(_SUBJECTS) for _ in range(subject.questions)]
    while True:
        source.shuffle(asked)
        for number in asked:
            ratio = invert(_QUESTION_RATIOS, source.random())
            question_tokens = max(1, round(_SUBJECTS[number].question_tokens * ratio))
            blocks = prefixes[number]
            yield WorkloadRequest(
                at_s=0.0,
                prompt_tokens=len(blocks) * block_tokens + question_tokens,
                output_tokens=1,
                blocks=blocks,
                block_tokens=block_tokens,
            )


def _prefix(number: int, block_tokens: int) -> tuple[int, ...]:
    """Ids of the blocks that all questions of a subject start with."""
    size = max(1, round(_SUBJECTS[number].examples_tokens / block_tokens))
    return tuple(range(number * _MOST_BLOCKS, number * _MOST_BLOCKS + size))
