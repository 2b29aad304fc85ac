"""Crops against plain slices, and what must hold for any frame size."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mv2mae_jax.data import augment

SCALES = (1.0, 0.875, 0.75, 0.66)


def noise(frames, height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), np.uint8)


def test_boxes_of_the_default_setting_by_hand():
    # 144 x 256 to 128: the four sizes, 126 being taken as 128, and the 13 places of the smallest.
    scales = [1.0, 0.875, 0.75, 0.66]
    sizes = [augment.crop_box(augment.CropDraw(s, s, (0, 0), False), 144, 256, 128) for s in scales]
    assert [box.width for box in sizes] == [144, 128, 108, 95] == [box.height for box in sizes]
    rng = np.random.default_rng(0)
    draws = {augment.draw_crop(rng, (0.66,), flip=False) for _ in range(500)}
    boxes = {augment.crop_box(draw, 144, 256, 128) for draw in draws}
    # (256 - 95) // 4 = 40 and (144 - 95) // 4 = 12 are the steps.
    corners = {(0, 0), (160, 0), (0, 48), (160, 48)}
    inner = {(40, 12), (120, 12), (40, 36), (120, 36)}
    cross = {(80, 24), (80, 0), (80, 48), (0, 24), (160, 24)}
    assert {(box.x, box.y) for box in boxes} == corners | inner | cross


def test_scales_of_width_and_height_differ_by_one_step_at_most():
    rng = np.random.default_rng(0)
    draws = [augment.draw_crop(rng, SCALES, flip=False) for _ in range(2000)]
    pairs = {(draw.width_scale, draw.height_scale) for draw in draws}
    near = {(SCALES[i], SCALES[j]) for i in range(4) for j in range(4) if abs(i - j) < 2}
    assert pairs == near and len(near) == 10


@settings(deadline=None, max_examples=200)
@given(st.integers(16, 300), st.integers(16, 300), st.integers(8, 224), st.integers(0, 2**32))
def test_boxes_lie_within_the_frame(height, width, size, seed):
    draw = augment.draw_crop(np.random.default_rng(seed), SCALES, flip=True)
    box = augment.crop_box(draw, height, width, size)
    assert box.x >= 0 and box.y >= 0 and box.width > 0 and box.height > 0
    assert box.x + box.width <= width and box.y + box.height <= height


@settings(deadline=None, max_examples=30)
@given(st.integers(20, 80), st.integers(20, 80), st.integers(8, 48), st.integers(0, 2**32))
def test_random_crop_is_slice_and_resize(height, width, size, seed):
    clip = noise(2, height, width, seed)
    draw = augment.draw_crop(np.random.default_rng(seed), SCALES, flip=True)
    box = augment.crop_box(draw, height, width, size)
    cropped = augment.random_crop(clip, draw, size)
    assert cropped.shape == (2, size, size, 3)
    for frame, result in zip(clip, cropped, strict=True):
        part = frame[box.y : box.y + box.height, box.x : box.x + box.width].copy()
        expected = cv2.resize(part, (size, size), interpolation=cv2.INTER_LINEAR)
        assert np.array_equal(result, cv2.flip(expected, 1) if draw.mirrored else expected)


def test_a_crop_of_the_wanted_size_is_not_resampled():
    clip = noise(3, 40, 50)
    draw = augment.CropDraw(1.0, 1.0, (4, 0), mirrored=False)
    assert np.array_equal(augment.random_crop(clip, draw, 40), clip[:, :, 8:48])


def test_half_of_the_crops_are_mirrored():
    rng = np.random.default_rng(0)
    mirrored = [augment.draw_crop(rng, SCALES, flip=True).mirrored for _ in range(1000)]
    assert 430 < sum(mirrored) < 570
    assert not any(augment.draw_crop(rng, SCALES, flip=False).mirrored for _ in range(100))


def test_for_one_crop_the_largest_square_is_cut():
    clip = noise(2, 32, 48)
    assert np.array_equal(augment.fit_for_crops(clip, 32, crops=1), clip[:, :, 8:40])
    tall = noise(1, 90, 60)
    expected = cv2.resize(tall[0], (30, 45), interpolation=cv2.INTER_LINEAR)[7:37]
    assert np.array_equal(augment.fit_for_crops(tall, 30, crops=1)[0], expected)


@pytest.mark.parametrize("crops", [5, 10])
def test_several_crops_are_cut_from_frames_of_8_7_of_their_size(crops):
    clip = noise(2, 144, 256)  # 144 is near enough to 8/7 of 128: nothing is resampled
    assert np.array_equal(augment.fit_for_crops(clip, 128, crops), clip)
    clip = noise(1, 240, 320)
    resized = cv2.resize(clip[0], (341, 256), interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(augment.fit_for_crops(clip, 224, crops)[0], resized)


@settings(deadline=None, max_examples=25)
@given(st.sampled_from([1, 5, 10]), st.integers(8, 90), st.integers(8, 90), st.integers(8, 64))
def test_crops_fit_into_any_frame(crops, height, width, size):
    fitted = augment.fit_for_crops(noise(1, height, width), size, crops)
    assert min(fitted.shape[1:3]) >= size
    if crops == 1:
        assert fitted.shape == (1, size, size, 3)
