"""How a difference was measured, how far it can be trusted, and whether it is what was predicted.

Two rows are compared on the same predictions and with the same seeds. Both are drawn at random:
other activities and other seeds would give another difference.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

from mv2mae_jax.reproduce.rows import Comparison, Metric
from mv2mae_jax.reproduce.runs import Finding

ALIKE = 0.03  # accuracies that differ by less are about the same
CONFIDENCE = 0.95
# Of two seeds a standard deviation has one degree of freedom: where seeds differ by more than
# activities do, the interval holds the truth in as few as 88 of 100 cases (test_judge.py).
RESOLVES = 3  # seeds

Verdict = Literal["agrees", "differs", "not resolved", "no prediction"]


class Difference(NamedTuple):
    """A difference of accuracies: its mean, 95 % interval, and how many seeds it is of."""

    mean: float
    low: float
    high: float
    seeds: int


def measured(comparison: Comparison, findings: Sequence[Finding]) -> Difference | None:
    """The difference, over the seeds that both rows have; None where there is none."""
    rows = {(x.row, x.seed): x for x in findings if x.protocol == comparison.protocol}
    seeds = sorted(
        seed
        for name, seed in rows
        if name == comparison.row
        and (comparison.other, seed) in rows
        and comparison.metric in rows[name, seed].top1
        and comparison.other_metric in rows[comparison.other, seed].top1
    )
    if not seeds:
        return None
    metrics = comparison.metric, comparison.other_metric
    ours, theirs = (
        np.stack([by_activity(rows[name, seed], metric) for seed in seeds])
        for name, metric in zip((comparison.row, comparison.other), metrics, strict=True)
    )
    return difference(ours - theirs)


def by_activity(finding: Finding, metric: Metric) -> Float[np.ndarray, " A"]:
    """Share of right predictions among the views of each activity."""
    right: Bool[np.ndarray, " n"] = finding.right(metric)
    return right.reshape(finding.predictions["multi_view"], -1).mean(axis=1)


def difference(values: Float[np.ndarray, "S A"]) -> Difference:
    """Mean over seeds and activities, with its t interval where both are random.

    In the two-way layout without replication (Searle, Casella and McCulloch, 1992, chapter 4) the
    variance of the mean is estimated by (MS_seeds + MS_activities - MS_rest) / (S A), here never
    less than without either of the two; its degrees of freedom are Satterthwaite's. With one seed
    nothing is known of seeds: the interval is of activities alone.

    Args:
      values: of S seeds and A activities.
    """
    seeds, activities = values.shape
    mean = float(values.mean())
    of_seeds = values.mean(axis=1, keepdims=True) - mean
    of_activities = values.mean(axis=0, keepdims=True) - mean
    rest = values - mean - of_seeds - of_activities
    freedom = np.array([seeds - 1, activities - 1, (seeds - 1) * (activities - 1)])
    sums = np.array(
        [activities * np.sum(of_seeds**2), seeds * np.sum(of_activities**2), np.sum(rest**2)]
    )
    squares = sums / np.maximum(freedom, 1)
    total = max(squares[0] + squares[1] - squares[2], squares[0], squares[1])
    if total == 0:
        return Difference(mean, mean, mean, seeds)
    effective = total**2 / np.sum(squares**2 / np.maximum(freedom, 1))
    half = stats.t.ppf((1 + CONFIDENCE) / 2, effective) * np.sqrt(total / values.size)
    return Difference(mean, float(mean - half), float(mean + half), seeds)


def verdict(comparison: Comparison, found: Difference) -> Verdict:
    """Whether it is what was predicted; fewer than `RESOLVES` seeds resolve nothing."""
    if not comparison.predicted:
        return "no prediction"
    if found.seeds >= RESOLVES:
        if comparison.predicted == "=":
            if found.low > -ALIKE and found.high < ALIKE:
                return "agrees"
            if found.high < -ALIKE or found.low > ALIKE:
                return "differs"
        elif found.low > 0:
            return "agrees"
        elif found.high < 0:
            return "differs"
    return "not resolved"
