"""A difference's interval holds the truth as often as it says, whatever differs at random."""

import numpy as np
import pytest

from mv2mae_jax.reproduce.judge import (
    RESOLVES,
    Difference,
    by_activity,
    difference,
    measured,
    verdict,
)
from mv2mae_jax.reproduce.rows import Comparison
from mv2mae_jax.reproduce.runs import Finding, packed


def finding(row: str, seed: int, right: list[bool], fused: list[bool] | None = None) -> Finding:
    views = np.array(right)
    activities = views if fused is None else np.array(fused)
    of = {"single_clip": views, "single_view": views, "multi_view": activities}
    return Finding(
        row=row,
        protocol="xview",
        scale="cpu",
        seed=seed,
        configs={},
        data="",
        machine={},
        minutes={},
        top1={metric: float(x.mean()) for metric, x in of.items()},
        correct={metric: packed(x) for metric, x in of.items()},
        predictions={metric: len(x) for metric, x in of.items()},
        probes={},
    )


def held(seeds: int, of_seeds: float, of_activities: float) -> float:
    """How often the interval holds the truth, of 400 draws of so many seeds and 480 activities."""
    rng = np.random.default_rng(0)
    trials, activities, held = 400, 480, 0
    for _ in range(trials):
        values = 0.02 + rng.normal(0, 0.5, (seeds, activities))
        values += rng.normal(0, of_seeds, (seeds, 1)) + rng.normal(0, of_activities, activities)
        found = difference(values)
        held += found.low <= 0.02 <= found.high
    return held / trials


@pytest.mark.parametrize("of_seeds", [0.0, 0.01, 0.03, 0.1])
@pytest.mark.parametrize("of_activities", [0.0, 0.3])
def test_intervals_hold_the_truth(of_seeds: float, of_activities: float):
    # Never far too narrow, nor so wide that it says nothing.
    assert 0.91 <= held(RESOLVES, of_seeds, of_activities) <= 0.995


def test_of_fewer_seeds_they_would_be_too_narrow():
    assert held(RESOLVES - 1, of_seeds=0.05, of_activities=0.0) < 0.91


def test_one_seed_is_the_t_interval_of_activities():
    # Mean 0.5, sample variance 1/3 of four values: 0.5 ± 3.182 sqrt(1/3 / 4).
    found = difference(np.array([[0.0, 1.0, 0.0, 1.0]]))
    assert found.mean == 0.5 and found.seeds == 1
    assert found.high - found.mean == pytest.approx(3.182446 * np.sqrt(1 / 12), rel=1e-6)


def test_three_seeds_of_four_activities_by_hand():
    """Seeds 0, 3, 6 plus activities 0, 1, 2, 5, plus a rest of 1 in one corner and its mirror."""
    values = np.add.outer([0.0, 3.0, 6.0], [0.0, 1.0, 2.0, 5.0])
    values += np.array([[1, -1, 0, 0], [-1, 1, 0, 0], [0, 0, 0, 0]])
    # Sums of squares: seeds 4 (9 + 0 + 9) = 72, activities 3 (4 + 1 + 0 + 9) = 42, rest 4; with 2,
    # 3 and 6 degrees of freedom 36, 14 and 2/3.
    total = 36 + 14 - 2 / 3
    freedom = total**2 / (36**2 / 2 + 14**2 / 3 + (2 / 3) ** 2 / 6)
    assert freedom == pytest.approx(3.41, abs=0.01)
    found = difference(values)
    assert found.mean == 5.0 and found.seeds == 3
    # Student's t of 0.975 is 3.182 with 3 degrees of freedom, 2.776 with 4: 2.98 with 3.41.
    assert found.high - 5.0 == pytest.approx(2.98 * np.sqrt(total / 12), rel=0.01)
    assert 5.0 - found.low == pytest.approx(found.high - 5.0)


def test_the_same_predictions_do_not_differ():
    assert difference(np.zeros((3, 5))) == Difference(0.0, 0.0, 0.0, 3)


def test_seeds_that_both_rows_have_are_compared():
    findings = [
        finding("new", 0, [True, True, False, False]),
        finding("new", 1, [True, True, True, False]),
        finding("new", 2, [False] * 4),
        finding("old", 0, [True, False, False, False]),
        finding("old", 1, [False, False, True, False]),
    ]
    comparison = Comparison("xview", "new", "old", "", "+")
    found = measured(comparison, findings)
    assert found.seeds == 2 and found.mean == pytest.approx((1 + 2) / 8)
    assert measured(Comparison("xsub", "new", "old", "", "+"), findings) is None


def test_views_of_an_activity_count_together():
    one = finding("new", 0, [True, False, True, True], [True, True])
    np.testing.assert_array_equal(by_activity(one, "single_view"), [0.5, 1.0])
    np.testing.assert_array_equal(by_activity(one, "multi_view"), [1.0, 1.0])


@pytest.mark.parametrize(
    ("predicted", "low", "high", "seeds", "expected"),
    [
        ("+", 0.01, 0.05, 3, "agrees"),
        ("+", -0.01, 0.05, 3, "not resolved"),
        ("+", -0.05, -0.01, 3, "differs"),
        ("+", 0.01, 0.05, 1, "not resolved"),
        ("+", 0.01, 0.05, 2, "not resolved"),
        ("=", -0.02, 0.01, 3, "agrees"),
        ("=", 0.01, 0.05, 3, "not resolved"),
        ("=", 0.04, 0.05, 3, "differs"),
        ("=", -0.05, -0.04, 3, "differs"),
        ("=", -0.05, 0.01, 3, "not resolved"),
        ("=", -0.029, 0.029, 3, "agrees"),
        ("=", -0.031, 0.029, 3, "not resolved"),
        ("=", -0.029, 0.031, 3, "not resolved"),
        ("", 0.04, 0.05, 3, "no prediction"),
    ],
)
def test_verdicts(predicted: str, low: float, high: float, seeds: int, expected: str):
    comparison = Comparison("xview", "new", "old", "", predicted)
    assert verdict(comparison, Difference((low + high) / 2, low, high, seeds)) == expected
