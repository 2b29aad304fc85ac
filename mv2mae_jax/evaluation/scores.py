"""Accuracies, and how far they can be trusted."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

RESAMPLES = 1000
PERCENTILES = (2.5, 97.5)


@dataclass(frozen=True)
class Score:
    """An accuracy.

    Attributes:
      accuracy: share of right predictions.
      count: of predictions it is a mean of.
      interval: from where to where 95% of its bootstrap resamples reach.
    """

    accuracy: float
    count: int
    interval: tuple[float, float]


def score(correct: Bool[np.ndarray, " V"], activities: Int[np.ndarray, " V"]) -> Score:
    """The accuracy of predictions, its count and interval.

    Args:
      correct: which of the predictions are right.
      activities: what each of them is of.
    """
    return Score(float(correct.mean()), len(correct), bootstrap_interval(correct, activities))


def bootstrap_interval(
    correct: Bool[np.ndarray, " V"] | Int[np.ndarray, " V"], activities: Int[np.ndarray, " V"]
) -> tuple[float, float]:
    """The 95% percentile interval of an accuracy (Efron and Tibshirani, 1993, chapter 13).

    Or of the difference of two on the same videos, each of which is -1, 0 or 1 then.

    Activities are resampled, each with all its videos: views of one are right or wrong together.
    A resample depends only on how often it draws each kind of activity (so many videos, so many
    of them right), and there are few kinds; so those numbers are drawn.
    """
    _, member = np.unique(activities, return_inverse=True)
    videos = np.bincount(member)
    right = np.bincount(member, weights=correct)
    kinds, frequencies = np.unique(np.stack([right, videos], axis=1), axis=0, return_counts=True)
    draws = np.random.default_rng(0).multinomial(
        len(videos), frequencies / len(videos), size=RESAMPLES
    )
    right_drawn, videos_drawn = (draws @ kinds).T
    low, high = np.percentile(right_drawn / videos_drawn, PERCENTILES)
    return float(low), float(high)
