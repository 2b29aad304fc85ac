"""The motion map by hand; the probe finds what is linear and nothing in noise."""

import numpy as np

from mv2mae_jax.evaluation.probes import motion_map, ridge_accuracy


def test_motion_map_by_hand():
    clip = np.zeros((1, 4, 4, 4, 3), np.uint8)
    clip[0, 1, 0, 0] = 8  # one pixel of the first tubelet flashes in frame 1, all three channels
    clip[0, 3, 3, 3] = 6  # one pixel of the last place appears in the last frame
    values = motion_map(clip, (2, 2, 2)).reshape(2, 2, 2)
    # Per tubelet 2 frames x 4 pixels. The difference 0 -> 1 also stands for frame 0.
    assert values[0, 0, 0] == (8 + 8) / 8
    assert values[1, 0, 0] == 8 / 8  # back from 8 in frame 2: no wrap-around of bytes
    assert values[1, 1, 1] == 6 / 8
    assert values.sum() == 2 + 1 + 0.75


def test_ridge_accuracy():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 200)
    noise = rng.standard_normal((200, 50))
    signal = noise + 3 * np.eye(50)[labels]
    half = slice(0, 100), slice(100, 200)
    found = ridge_accuracy(signal[half[0]], labels[half[0]], signal[half[1]], labels[half[1]])
    chance = ridge_accuracy(noise[half[0]], labels[half[0]], noise[half[1]], labels[half[1]])
    assert found > 0.9
    assert chance < 0.55
