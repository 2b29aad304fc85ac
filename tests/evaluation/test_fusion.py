"""Late fusion on numbers worked out by hand."""

import numpy as np

from mv2mae_jax.evaluation.fusion import fuse_views

# Two activities with two views each, one with a single view, interleaved.
PROBABILITIES = np.array([[0.6, 0.4], [0.1, 0.9], [0.3, 0.7], [0.2, 0.8], [0.9, 0.1]])
LABELS = np.array([1, 1, 1, 0, 0])
ACTIVITIES = np.array([7, 4, 7, 2, 4])


def test_fusion_by_hand():
    labels = np.array([1, 0, 1, 0, 0])
    fused, fused_labels = fuse_views(PROBABILITIES, labels, ACTIVITIES)
    np.testing.assert_allclose(fused, [[0.2, 0.8], [0.5, 0.5], [0.45, 0.55]])
    np.testing.assert_array_equal(fused_labels, [0, 0, 1])


def test_fusing_single_views_changes_nothing():
    fused, labels = fuse_views(PROBABILITIES, LABELS, np.arange(5))
    np.testing.assert_array_equal(fused, PROBABILITIES)
    np.testing.assert_array_equal(labels, LABELS)
