"""Grids and what masks hide together, by hand."""

import numpy as np

from mv2mae_jax.model.grid import tubelet_grid, tubes


def test_tubelet_grid_of_the_paper():
    assert tubelet_grid(16, 128, (2, 16, 16)) == (8, 8, 8)


def test_height_and_width_of_tubelets_may_differ():
    assert tubelet_grid(16, 128, (2, 16, 32)) == (8, 8, 4)


def test_a_tube_is_one_place_in_every_time_step():
    np.testing.assert_array_equal(tubes((2, 1, 3)), [[0, 3], [1, 4], [2, 5]])
