"""Crops against plain slices, and what must hold for any frame size."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.base import get_config
from mv2mae_jax.data import augment

SCALES = (1.0, 0.875, 0.75, 0.66)


def cropped_by(clip, draw, size):
    out = np.empty((len(clip), size, size, 3), np.uint8)
    augment.random_crop(clip, draw, out)
    return out


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


def test_sizes_of_crops_are_rounded_down():
    draw = augment.CropDraw(0.875, 0.875, (0, 0), False)
    assert augment.crop_box(draw, 100, 150, 64) == (0, 0, 87, 87)  # of 87.5


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
    cropped = cropped_by(clip, draw, size)
    assert cropped.shape == (2, size, size, 3)
    for frame, result in zip(clip, cropped, strict=True):
        part = frame[box.y : box.y + box.height, box.x : box.x + box.width].copy()
        expected = cv2.resize(part, (size, size), interpolation=cv2.INTER_LINEAR)
        assert np.array_equal(result, cv2.flip(expected, 1) if draw.mirrored else expected)


def test_a_crop_of_the_wanted_size_is_not_resampled():
    clip = noise(3, 40, 50)
    draw = augment.CropDraw(1.0, 1.0, (4, 0), mirrored=False)
    assert np.array_equal(cropped_by(clip, draw, 40), clip[:, :, 8:48])


def test_half_of_the_crops_are_mirrored():
    rng = np.random.default_rng(0)
    mirrored = [augment.draw_crop(rng, SCALES, flip=True).mirrored for _ in range(1000)]
    assert 430 < sum(mirrored) < 570
    assert not any(augment.draw_crop(rng, SCALES, flip=False).mirrored for _ in range(100))


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("crop", augment.CROPS)
def test_crops_are_mirrored_where_the_config_asks_for_it(crop, flip):
    data, rng = get_config().data, np.random.default_rng(0)
    data.flip = flip
    mirrored = {augment.CROPS[crop](rng, data).mirrored for _ in range(50)}
    assert mirrored == ({False, True} if flip else {False})


def test_for_one_crop_the_largest_square_is_cut():
    clip = noise(2, 32, 48)
    assert np.array_equal(augment.fit_for_crops(clip, 32, crops=1), clip[:, :, 8:40])
    odd = noise(2, 32, 49)  # the pixel too many stays at the right
    assert np.array_equal(augment.fit_for_crops(odd, 32, crops=1), odd[:, :, 8:40])
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


AREA, ASPECT = (0.08, 1.0), (0.75, 4 / 3)


def resized_crops(count, area=AREA, aspect=ASPECT, flip=False):
    rng = np.random.default_rng(0)
    return [augment.draw_resized_crop(rng, area, aspect, flip) for _ in range(count)]


def torchvision_box(draw, height, width):
    """RandomResizedCrop's steps, with a draw in place of its random numbers."""
    for area, aspect in draw.tries:
        box_width = round(math.sqrt(height * width * area * aspect))
        box_height = round(math.sqrt(height * width * area / aspect))
        if 0 < box_width <= width and 0 < box_height <= height:
            places = range(width - box_width + 1), range(height - box_height + 1)
            x, y = (p[int(o * len(p))] for p, o in zip(places, draw.offset, strict=True))
            return x, y, box_width, box_height
    ratio = width / height
    if ratio < draw.aspects[0]:
        box_width, box_height = width, round(width / draw.aspects[0])
    elif ratio > draw.aspects[1]:
        box_width, box_height = round(height * draw.aspects[1]), height
    else:
        box_width, box_height = width, height
    return (width - box_width) // 2, (height - box_height) // 2, box_width, box_height


@pytest.mark.parametrize(("height", "width"), [(144, 256), (256, 144), (30, 31), (20, 400)])
def test_resized_crops_are_torchvisions(height, width):
    for draw in resized_crops(300):
        expected = torchvision_box(draw, height, width)
        assert augment.crop_box(draw, height, width, 128) == expected


def test_a_resized_crop_that_fits_nowhere_is_the_central_one_of_a_permitted_shape():
    (draw,) = resized_crops(1, area=(1.0, 1.0))  # of the whole area, so of the frame's shape
    assert augment.crop_box(draw, 120, 320, 64) == (80, 0, 160, 120)  # 4/3
    assert augment.crop_box(draw, 320, 120, 64) == (0, 80, 120, 160)  # 3/4
    (draw,) = resized_crops(1, area=(1.0, 1.0), aspect=(0.99, 1.01))
    assert augment.crop_box(draw, 1000, 1001, 64) == (0, 0, 1001, 1000)


def test_resized_crops_have_the_areas_shapes_and_places_asked_for():
    draws = resized_crops(4000)
    boxes = [augment.crop_box(draw, 1000, 1000, 128) for draw in draws]
    areas = np.array([box.width * box.height for box in boxes]) / 1e6
    shapes = np.log([box.width / box.height for box in boxes])
    assert areas.min() > 0.079 and areas.max() <= 1
    small = areas < 0.5  # always fit, so that the first try stands
    assert abs(np.mean(areas[small]) - 0.29) < 0.01  # uniform from 0.08
    assert abs(np.mean(np.abs(shapes[small])) - math.log(4 / 3) / 2) < 0.01  # log-uniform
    for axis in ("x", "y"):
        room = [1000 - getattr(box, {"x": "width", "y": "height"}[axis]) for box in boxes]
        places = [getattr(box, axis) / r for box, r in zip(boxes, room, strict=True) if r > 50]
        assert min(places) < 0.01 and max(places) > 0.99 and abs(np.mean(places) - 0.5) < 0.02


def test_areas_and_shapes_of_resized_crops_are_the_configs():
    data = get_config().data
    data.crop_area, data.crop_aspect = (0.25, 0.5), (1.5, 2.0)
    for seed in range(50):
        draw = augment.CROPS["random_resized"](np.random.default_rng(seed), data)
        areas, aspects = zip(*draw.tries, strict=True)
        assert min(areas) >= 0.25 and max(areas) <= 0.5
        assert min(aspects) >= 1.5 and max(aspects) <= 2
        assert draw.aspects == (1.5, 2)


def test_a_resized_crop_is_slice_resize_and_mirror():
    clip = noise(2, 40, 64)
    draw = next(draw for draw in resized_crops(50, flip=True) if draw.mirrored)
    x, y, width, height = torchvision_box(draw, 40, 64)
    cropped = cropped_by(clip, draw, 32)
    for frame, result in zip(clip, cropped, strict=True):
        part = frame[y : y + height, x : x + width].copy()
        expected = cv2.resize(part, (32, 32), interpolation=cv2.INTER_LINEAR)
        assert np.array_equal(result, cv2.flip(expected, 1))
    mirrored = [draw.mirrored for draw in resized_crops(1000, flip=True)]
    assert 430 < sum(mirrored) < 570 and not any(draw.mirrored for draw in resized_crops(50))


@settings(deadline=None, max_examples=25)
@given(st.sampled_from([1, 5, 10]), st.integers(8, 90), st.integers(8, 90), st.integers(8, 64))
def test_crops_fit_into_any_frame(crops, height, width, size):
    fitted = augment.fit_for_crops(noise(1, height, width), size, crops)
    assert min(fitted.shape[1:3]) >= size
    if crops == 1:
        assert fitted.shape == (1, size, size, 3)
