"""Every operation against Pillow frame by frame, and the draws against timm's setting."""

from collections import Counter

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from mv2mae_jax.data import randaugment
from mv2mae_jax.data.randaugment import OPERATIONS, Operation, draw_operations

GREY = (128, 128, 128)


def affine(picture, *matrix):
    return picture.transform(picture.size, Image.AFFINE, matrix, Image.BILINEAR, fillcolor=GREY)


def enhanced(enhancer):
    return lambda picture, a: enhancer(picture).enhance(max(0.1, 1 + 0.9 * a))


def brightened_below_128(picture, a):
    table = [min(255, i + int(110 * abs(a))) if i < 128 else i for i in range(256)]
    return picture.point(3 * table)


# The operations of timm's `inc1` set, by Pillow; `a` is (sign x level) / 10.
PILLOW = {
    "auto_contrast": lambda picture, a: ImageOps.autocontrast(picture),
    "equalize": lambda picture, a: ImageOps.equalize(picture),
    "invert": lambda picture, a: ImageOps.invert(picture),
    "rotate": lambda picture, a: picture.rotate(30 * a, Image.BILINEAR, fillcolor=GREY),
    "posterize": lambda picture, a: ImageOps.posterize(picture, 4 - int(4 * abs(a))),
    "solarize": lambda picture, a: ImageOps.solarize(picture, 256 - int(256 * abs(a))),
    "solarize_add": brightened_below_128,
    "color": enhanced(ImageEnhance.Color),
    "contrast": enhanced(ImageEnhance.Contrast),
    "brightness": enhanced(ImageEnhance.Brightness),
    "sharpness": enhanced(ImageEnhance.Sharpness),
    "shear_x": lambda picture, a: affine(picture, 1, 0.3 * a, 0, 0, 1, 0),
    "shear_y": lambda picture, a: affine(picture, 1, 0, 0, 0.3 * a, 1, 0),
    "translate_x": lambda picture, a: affine(picture, 1, 0, 0.45 * a * picture.width, 0, 1, 0),
    "translate_y": lambda picture, a: affine(picture, 1, 0, 0, 0, 1, 0.45 * a * picture.height),
}

# Tables are the same. The others differ by at most a level, as Pillow cuts fractions off where
# OpenCV rounds, and rounds greys and smoothed pixels before it mixes them.
MOST = dict.fromkeys(OPERATIONS, 1) | dict.fromkeys(
    ("auto_contrast", "equalize", "invert", "posterize", "solarize", "solarize_add"), 0
)


def by_pillow(name, clip, amount):
    return np.stack([np.asarray(PILLOW[name](Image.fromarray(frame), amount)) for frame in clip])


def smooth(rng, height, width):
    """Of few levels, other ones in every channel, so that ranges and histograms matter."""
    coarse = rng.integers(60, 200, (5, 6, 3)).astype(np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def clips():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (3, 61, 90, 3)).astype(np.uint8)
    dark = np.stack([smooth(rng, 72, 50) // 3, smooth(rng, 72, 50), smooth(rng, 72, 50) // 2 + 128])
    flat = np.full((2, 9, 12, 3), (7, 130, 255), np.uint8)
    return noise, dark, flat


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("amount", [0.7, -0.7, 0.513, -0.04, 0.0, 1.0, -1.0])
def test_is_what_pillow_does_to_each_frame(clips, name, amount):
    for clip in clips:
        result = OPERATIONS[name](clip, amount)
        assert result.shape == clip.shape and result.dtype == np.uint8
        difference = np.abs(result.astype(int) - by_pillow(name, clip, amount))
        assert difference.max() <= MOST[name]  # everywhere, edges included


@pytest.mark.parametrize("name", ["rotate", "shear_x", "shear_y", "translate_x", "translate_y"])
@settings(deadline=None, max_examples=40)
@given(
    height=st.integers(3, 40),
    width=st.integers(3, 40),
    amount=st.floats(-1, 1, width=32),
    seed=st.integers(0, 99),
)
@example(height=3, width=7, amount=1.0, seed=0)  # pixels come from the very edge
@example(height=3, width=33, amount=-1.0, seed=0)
def test_edges_are_pillows_at_any_size_and_amount(name, height, width, amount, seed):
    rng = np.random.default_rng(seed)
    clip = rng.integers(0, 256, (1, height, width, 3)).astype(np.uint8)
    difference = np.abs(OPERATIONS[name](clip, amount).astype(int) - by_pillow(name, clip, amount))
    assert difference.max() <= 1


def test_all_of_a_draw_is_applied_in_order_to_all_frames(clips):
    clip = np.repeat(clips[1][:1], 3, axis=0)
    operations = (Operation("solarize", -0.7), Operation("shear_x", 0.5), Operation("invert", 0.1))
    result = randaugment.randaugment(clip, operations)
    expected = clip
    for name, amount in operations:
        expected = by_pillow(name, expected, amount)
    assert np.abs(result.astype(int) - expected).max() <= 1
    assert np.array_equal(result[0], result[1]) and np.array_equal(result[0], result[2])
    other_order = randaugment.randaugment(clip, operations[::-1])
    assert not np.array_equal(result, other_order)


def test_the_input_stays(clips):
    before = clips[0].copy()
    for name in OPERATIONS:
        OPERATIONS[name](clips[0], 0.7)
        assert np.array_equal(clips[0], before), name


def test_draws_are_timms():
    """15 operations alike, each applied half of the time, either sign, |N(7, 0.5)| of 10."""
    rng = np.random.default_rng(0)
    draws = [draw_operations(rng, 4, 7.0, 0.5) for _ in range(3000)]
    lengths = Counter(map(len, draws))
    binomial = {0: 1 / 16, 1: 4 / 16, 2: 6 / 16, 3: 4 / 16, 4: 1 / 16}
    assert all(abs(lengths[k] / 3000 - share) < 0.03 for k, share in binomial.items())
    drawn = [operation for draw in draws for operation in draw]
    names = Counter(name for name, _ in drawn)
    assert len(names) == 15 and max(names.values()) < 1.3 * len(drawn) / 15
    assert min(names.values()) > 0.7 * len(drawn) / 15
    assert any(len({name for name, _ in draw}) < len(draw) for draw in draws)  # with replacement
    amounts = np.array([amount for _, amount in drawn])
    assert 0.47 < (amounts > 0).mean() < 0.53
    assert abs(np.abs(amounts).mean() - 0.7) < 0.003 and abs(np.abs(amounts).std() - 0.05) < 0.003


def test_strength_stays_within_the_range():
    rng = np.random.default_rng(0)
    drawn = [o for _ in range(200) for o in draw_operations(rng, 4, 9.0, 5.0)]
    strengths = {abs(amount) for _, amount in drawn}
    assert max(strengths) == 1 and min(strengths) == 0 and len(strengths) > 100


def test_no_operations_draw_nothing_and_change_nothing(clips):
    rng, untouched = np.random.default_rng(3), np.random.default_rng(3)
    assert draw_operations(rng, 0, 7.0, 0.5) == ()
    assert rng.random() == untouched.random()
    assert randaugment.randaugment(clips[0], ()) is clips[0]
