"""Purity of neighbourhoods, against neighbours that are counted by hand and by scikit-learn."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from mv2mae_jax.errors import InputError
from mv2mae_jax.evaluation.neighbours import neighbour_purity

FOUR = np.array([[1.0, 0.1], [1.0, -0.1], [-1.0, 0.1], [-1.0, -0.1]])


def test_four_videos_in_two_directions():
    """The nearest of each is the one on its side, as standardising makes a square of them."""
    wide = FOUR * [1, 0]
    each = np.arange(4)
    assert neighbour_purity(wide, np.array([0, 0, 1, 1]), each, 1) == (1, 1 / 3, 1)
    assert neighbour_purity(wide, np.array([0, 1, 0, 1]), each, 1) == (0, 1 / 3, 1)


def test_views_of_one_activity_are_no_neighbours():
    """Those on the same side are one activity: what is left lies on the other side."""
    activities = np.array([0, 0, 1, 1])
    purity = neighbour_purity(FOUR * [1, 0], np.array([0, 0, 1, 1]), activities, 10)
    assert purity == (0, 0, 2)
    purity = neighbour_purity(FOUR * [1, 0], np.array([0, 1, 0, 1]), activities, 10)
    assert purity == (0.5, 0.5, 2)


def test_one_activity_has_no_neighbours():
    with pytest.raises(InputError, match="views of one activity"):
        neighbour_purity(FOUR, np.arange(4), np.zeros(4, int), 1)


def test_it_is_what_scikit_learn_finds():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 60)
    features = np.eye(4)[labels] + rng.normal(size=(60, 4)) * [1, 2, 3, 4]
    purity = neighbour_purity(features, labels, np.arange(60), 5)
    scaled = StandardScaler().fit_transform(features)
    nearest = NearestNeighbors(n_neighbors=5, metric="cosine").fit(scaled).kneighbors()[1]
    assert purity.share == pytest.approx((labels[nearest] == labels[:, None]).mean())
    counts = np.bincount(labels)
    assert purity.chance == pytest.approx((counts * (counts - 1)).sum() / (60 * 59))
    assert purity.share > purity.chance
