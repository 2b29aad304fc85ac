"""Position tables by hand and against Hugging Face's VideoMAE."""

import numpy as np
import pytest
from flax import nnx
from transformers.models.videomae.modeling_videomae import get_sinusoid_encoding_table

from mv2mae_jax.model.mv2mae import MV2MAE
from mv2mae_jax.model.positions import position_table, separable_sinusoid, sinusoid
from mv2mae_jax.model.variants import VARIANTS


def test_sinusoid_by_hand():
    """Four channels: two frequencies, 1 and 1 / 10000^(2/4) = 1/100; sine and cosine in turn."""
    expected = [
        [0, 1, 0, 1],
        [np.sin(1), np.cos(1), np.sin(0.01), np.cos(0.01)],
        [np.sin(2), np.cos(2), np.sin(0.02), np.cos(0.02)],
    ]
    np.testing.assert_allclose(sinusoid(3, 4), expected, rtol=1e-6)


def test_flattened_is_videomaes_table():
    theirs = get_sinusoid_encoding_table(512, 384)[0]
    np.testing.assert_allclose(position_table("flattened", (8, 8, 8), 384), theirs, atol=1e-6)


@pytest.mark.parametrize("dim", [64, 96, 128, 192, 384, 512])
def test_separable_shares(dim):
    """Time, height and width each stand in channels of their own, the same along the others."""
    grid = (3, 4, 5)
    table = separable_sinusoid(grid, dim).reshape(*grid, dim)
    space = dim // 3 // 2 * 2
    time, height, width = np.split(table, [dim - 2 * space, dim - space], axis=-1)
    assert (time == time[:, :1, :1]).all()
    assert (height == height[:1, :, :1]).all()
    assert (width == width[:1, :1, :]).all()
    np.testing.assert_array_equal(time[:, 0, 0], 3 * sinusoid(3, dim - 2 * space, base=10.0))
    np.testing.assert_array_equal(height[0, :, 0], 3 * sinusoid(4, space, base=10.0))
    np.testing.assert_array_equal(width[0, 0, :], 3 * sinusoid(5, space, base=10.0))


def test_every_separable_channel_tells_neighbours_apart():
    """On a grid of 4 x 7 x 7, the demo's, no channel is nearly the same along its axis."""
    table = separable_sinusoid((4, 7, 7), 128)
    assert np.ptp(table, axis=0).min() > 0.12
    assert np.median(np.ptp(table, axis=0)) > 1.5


@pytest.mark.parametrize("kind", ["flattened", "separable"])
def test_every_place_has_its_own_row(kind):
    assert len(np.unique(position_table(kind, (8, 8, 8), 384), axis=0)) == 512


@pytest.mark.parametrize("kind", ["flattened", "separable"])
def test_tables_are_no_state(kind):
    """Neither parameter nor variable: nothing of a model's state has a row per token."""
    grid = (2, 3, 7)
    model = nnx.eval_shape(
        lambda: MV2MAE(VARIANTS["mini"], grid, 1536, positions=kind, rngs=nnx.Rngs(0))
    )
    state = nnx.to_flat_state(nnx.state(model))
    assert state and all(42 not in variable.shape for _, variable in state)
