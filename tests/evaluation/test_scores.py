"""Accuracies by hand; their intervals against theory and another program's bootstrap."""

import time

import numpy as np
import pytest
from scipy import stats

from mv2mae_jax.evaluation.scores import bootstrap_interval, score


def test_score_by_hand():
    found = score(np.array([True, False, True, True]), np.array([5, 5, 2, 9]))
    assert found.accuracy == 3 / 4 and found.count == 4
    low, high = found.interval
    assert 0 <= low < 3 / 4 < high <= 1


def test_two_activities_by_hand():
    """One activity is right, one wrong: a resample is right by 0, 1/2 or 1, often enough."""
    assert bootstrap_interval(np.array([True, False]), np.array([0, 1])) == (0.0, 1.0)
    # Nine right of nine, one wrong: resamples without the wrong one are 35% of all.
    low, high = bootstrap_interval(np.arange(10) > 0, np.arange(10))
    assert low == pytest.approx(0.7) and high == 1.0  # 1 - Binomial(10, 1/10) / 10


def test_all_right_and_all_wrong():
    for value in (True, False):
        assert bootstrap_interval(np.full(7, value), np.arange(7)) == (value, value)


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_single_videos_follow_the_normal_approximation(share):
    correct = np.arange(5000) < 5000 * share
    low, high = bootstrap_interval(correct, np.arange(5000))
    half = 1.96 * np.sqrt(share * (1 - share) / 5000)
    # The quantile itself is known to about 8% of the half width from 1,000 resamples.
    assert low == pytest.approx(share - half, abs=0.2 * half)
    assert high == pytest.approx(share + half, abs=0.2 * half)


def test_views_that_agree_count_as_one():
    rng = np.random.default_rng(1)
    activities = np.repeat(np.arange(1000), 4)
    alone = rng.random(4000) < 0.7
    together = np.repeat(rng.random(1000) < 0.7, 4)

    def width(correct):
        low, high = bootstrap_interval(correct, activities)
        return high - low

    # The deviation of a mean of 1,000 is twice that of a mean of 4,000.
    assert width(together) == pytest.approx(2 * width(alone), rel=0.15)


def test_agrees_with_the_bootstrap_of_scipy():
    """Activities of one to three videos, right together more or less often."""
    rng = np.random.default_rng(2)
    videos = rng.integers(1, 4, 300)
    right = rng.binomial(videos, rng.beta(2, 1, 300))
    correct = np.concatenate([np.arange(n) < r for n, r in zip(videos, right, strict=True)])
    activities = np.repeat(rng.permutation(300), videos)
    order = rng.permutation(len(correct))
    found = bootstrap_interval(correct[order], activities[order])
    theirs = stats.bootstrap(
        (right, videos),
        lambda r, v, axis: r.sum(axis) / v.sum(axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=20000,
        rng=0,
    ).confidence_interval
    assert found == pytest.approx(tuple(theirs), abs=0.15 * (theirs.high - theirs.low) / 2)


def test_fifty_thousand_videos_take_no_time():
    correct = np.random.default_rng(0).random(50_000) < 0.8
    start = time.process_time()
    found = bootstrap_interval(correct, np.arange(50_000) // 3)
    assert time.process_time() - start < 1
    assert found == bootstrap_interval(correct, np.arange(50_000) // 3)
