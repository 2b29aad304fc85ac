"""Frames against another decoder, and how many are decoded."""

import cv2
import numpy as np
import pytest
import simplejpeg

from mv2mae_jax.data.decode import decode_frames


@pytest.fixture(scope="module")
def jpegs():
    rng = np.random.default_rng(0)
    coarse = [cv2.resize(rng.integers(0, 256, (4, 5, 3), np.uint8), (60, 44)) for _ in range(9)]
    return [simplejpeg.encode_jpeg(image, 90, "RGB", "420") for image in coarse]


def opencv(jpeg):
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]


@pytest.mark.parametrize("times", [[0, 3, 6], [2], [8, 8, 8], [5, 1, 5, 0], [0, 4, 7, 7, 7]])
def test_same_frames_as_opencv(jpegs, times):
    frames = decode_frames(jpegs, np.array(times))
    assert frames.dtype == np.uint8 and frames.shape == (len(times), 44, 60, 3)
    for frame, time in zip(frames, times, strict=True):
        difference = np.abs(frame.astype(int) - opencv(jpegs[time]))
        assert difference.max() <= 2  # two implementations of one standard


def test_only_needed_frames_are_decoded_and_each_once(jpegs, monkeypatch):
    decoded = []

    def count(jpeg, *args, **kwargs):
        decoded.append(jpegs.index(jpeg))
        return original(jpeg, *args, **kwargs)

    original = simplejpeg.decode_jpeg
    monkeypatch.setattr(simplejpeg, "decode_jpeg", count)
    decode_frames(jpegs, np.array([1, 5, 5, 5, 1]))
    assert sorted(decoded) == [1, 5]


def test_a_damaged_frame_is_an_error(jpegs):
    with pytest.raises(ValueError):
        decode_frames([jpegs[0], b"no picture"], np.array([0, 1]))
