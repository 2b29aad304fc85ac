"""Masks: permutations with static counts, each a function of its clip's key alone."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mv2mae_jax.model.grid import MASKS, num_masked
from mv2mae_jax.model.masking import sample_masks

PAPER = (8, 8, 8)


def keys(count: int, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), count)


@settings(deadline=None, max_examples=5)
@given(
    st.sampled_from(tuple(MASKS)),
    st.floats(0.1, 0.95),
    st.tuples(st.integers(1, 3), st.integers(2, 4), st.integers(2, 4)),
    st.integers(0, 2**31 - 1),
)
def test_visible_and_masked_are_all_tokens_once(kind, ratio, grid, seed):
    mask = sample_masks(keys(3, seed), kind, ratio, grid)
    assert mask.masked.shape == (3, num_masked(kind, ratio, grid))
    together = np.concatenate(mask, axis=1)
    np.testing.assert_array_equal(np.sort(together, axis=1), [np.arange(np.prod(grid))] * 3)


@pytest.mark.parametrize(("kind", "masked", "visible"), [("random", 358, 154), ("tube", 352, 160)])
def test_counts_at_the_papers_shape(kind, masked, visible):
    """int(0.7 * 512) = 358; tubes: int(0.7 * 64) = 44 in each of 8 time steps."""
    mask = sample_masks(keys(2), kind, 0.7, PAPER)
    assert mask.masked.shape == (2, masked) and mask.visible.shape == (2, visible)


def test_tube_hides_the_same_places_in_every_time_step():
    mask = sample_masks(keys(4), "tube", 0.7, PAPER)
    for clip in np.asarray(mask.masked):
        time, place = np.divmod(clip, 64)
        in_first = set(place[time == 0])
        assert len(in_first) == 44
        assert all(set(place[time == t]) == in_first for t in range(8))


def test_random_does_not_repeat_over_time():
    masked = np.asarray(sample_masks(keys(1), "random", 0.7, PAPER).masked[0])
    time, place = np.divmod(masked, 64)
    assert set(place[time == 0]) != set(place[time == 1])


@pytest.mark.parametrize("kind", MASKS)
def test_a_clips_mask_depends_on_its_key_alone(kind):
    together = sample_masks(keys(4), kind, 0.7, PAPER)
    alone = sample_masks(keys(4)[2:3], kind, 0.7, PAPER)
    np.testing.assert_array_equal(together.masked[2], alone.masked[0])
    np.testing.assert_array_equal(together.visible[2], alone.visible[0])
    assert len({frozenset(clip) for clip in np.asarray(together.masked).tolist()}) == 4


@pytest.mark.parametrize("kind", MASKS)
def test_every_token_is_masked_as_often(kind):
    """Frequencies over 4,000 clips stay within five standard deviations of the share hidden."""
    clips, grid = 4000, (2, 4, 4)
    mask = sample_masks(keys(clips), kind, 0.7, grid)
    share = num_masked(kind, 0.7, grid) / 32
    frequency = np.bincount(np.ravel(mask.masked), minlength=32) / clips
    assert np.abs(frequency - share).max() < 5 * (share * (1 - share) / clips) ** 0.5
