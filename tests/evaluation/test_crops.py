"""Crops on the device against slices on the host, pixel by pixel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mv2mae_jax.data import augment
from mv2mae_jax.evaluation.crops import over_crops


def host_crops(clip, size, crops):
    """Corners, centre, then their mirrors, by plain slices of one clip [T H W C]."""
    height, width = clip.shape[1:3]
    low, right = height - size, width - size
    top, left = low // 2, right // 2
    centre = clip[:, top : top + size, left : left + size]
    if crops == 1:
        return np.stack([centre])
    five = [
        clip[:, :size, :size],
        clip[:, :size, right:],
        clip[:, low:, :size],
        clip[:, low:, right:],
        centre,
    ]
    mirrors = [crop[:, :, ::-1] for crop in five]
    return np.stack(five + mirrors if crops == 10 else five)


@pytest.mark.parametrize("crops", [1, 5, 10])
@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(144, 256, 128), (37, 64, 32), (64, 36, 32), (40, 61, 32), (31, 30, 32), (36, 36, 32)],
)
def test_device_crops_are_those_of_the_host(crops, height, width, size):
    rng = np.random.default_rng(0)
    videos = rng.integers(0, 256, (2, 3, 2, height, width, 3), np.uint8)
    flat = augment.fit_for_crops(videos.reshape(-1, height, width, 3), size, crops)
    fitted = flat.reshape(2, 3, 2, *flat.shape[1:])
    found = over_crops(lambda crop: crop, jnp.asarray(fitted), size, crops)
    assert found.shape == (3, crops, 2, 2, size, size, 3) and found.dtype == np.uint8
    for video in range(2):
        for clip in range(3):
            expected = host_crops(fitted[video, clip], size, crops)
            assert np.array_equal(found[clip, :, video], expected)


def test_memory_does_not_grow_with_the_number_of_crops():
    """Of a function whose result is small and whose intermediate values are large."""

    def temporary_bytes(crops):
        clips = jax.ShapeDtypeStruct((4, 5, 8, 146, 260, 3), jnp.uint8)
        program = jax.jit(
            lambda x: over_crops(
                lambda crop: jnp.sort(crop.astype(jnp.float32), axis=2).mean((2, 3, 4)),
                x,
                128,
                crops,
            )
        )
        return program.lower(clips).compile().memory_analysis().temp_size_in_bytes

    five, ten = temporary_bytes(5), temporary_bytes(10)
    assert five > 4 * 8 * 128 * 128 * 3 * 4  # a batch of crops, as float32
    assert ten < 1.01 * five
