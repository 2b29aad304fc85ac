"""Frame times against times counted by hand, and what must hold for any length."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mv2mae_jax.data import sampling

lengths = st.integers(1, 400)
frames = st.integers(1, 32)
strides = st.integers(1, 8)
seeds = st.integers(0, 2**32)


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [
        (0, 16, [0, 4, 8, 12]),
        (3, 16, [3, 7, 11, 15]),
        (0, 13, [0, 4, 8, 12]),  # just long enough
        (0, 12, [0, 4, 8, 11]),  # one frame short: the last repeats
        (0, 5, [0, 4, 4, 4]),
        (0, 1, [0, 0, 0, 0]),
    ],
)
def test_clip_times_by_hand(start, length, expected):
    assert sampling.clip_times(start, length, num_frames=4, stride=4).tolist() == expected


def test_evenly_spaced_clips_by_hand():
    # 4 frames at stride 4 span 13; in 33 frames a clip can start at 0 .. 20.
    clips = sampling.spaced_clips(length=33, num_frames=4, stride=4, clips=5)
    assert clips[:, 0].tolist() == [0, 5, 10, 15, 20]
    assert clips[4].tolist() == [20, 24, 28, 32]
    assert sampling.spaced_clips(33, 4, 4, clips=1).tolist() == [[10, 14, 18, 22]]
    assert sampling.spaced_clips(6, 4, 4, clips=3).tolist() == [[0, 4, 5, 5]] * 3


def test_the_paper_clip_of_a_typical_video():
    # 16 frames at stride 4 span 61 frames.
    assert sampling.last_start(103, 16, 4) == 42
    assert sampling.last_start(61, 16, 4) == 0
    assert sampling.last_start(60, 16, 4) == 0


@settings(deadline=None, max_examples=100)
@given(seeds, lengths, frames, strides)
def test_random_clips_stay_in_the_video(seed, length, num_frames, stride):
    times = sampling.random_clip(np.random.default_rng(seed), length, num_frames, stride)
    assert times.shape == (num_frames,)
    assert times.min() >= 0 and times.max() <= length - 1
    steps = np.diff(times)
    if length > (num_frames - 1) * stride:
        assert (steps == stride).all()
    else:
        assert times[0] == 0
        assert set(steps[times[1:] < length - 1]) <= {stride}


@settings(deadline=None, max_examples=100)
@given(lengths, frames, strides, st.integers(1, 12))
def test_spaced_clips_reach_from_first_to_last_frame(length, num_frames, stride, clips):
    times = sampling.spaced_clips(length, num_frames, stride, clips)
    assert times.shape == (clips, num_frames)
    assert times.min() >= 0 and times.max() <= length - 1
    if clips > 1:
        assert times[0, 0] == 0
        assert times[-1, -1] == length - 1 or length > (num_frames - 1) * stride
        gaps = np.diff(times[:, 0])
        assert gaps.max() - gaps.min() <= 1
    if clips > 1 and length > (num_frames - 1) * stride:
        assert times[-1, -1] == length - 1


def test_every_start_is_drawn():
    rng = np.random.default_rng(0)
    starts = {int(sampling.random_clip(rng, 10, 3, 2)[0]) for _ in range(300)}
    assert starts == set(range(6))


@settings(deadline=None, max_examples=50)
@given(seeds, st.integers(1, 8), st.data())
def test_views_are_distinct(seed, count, data):
    names = [str(n) for n in range(count)]
    wanted = data.draw(st.integers(1, count))
    chosen = sampling.choose_views(np.random.default_rng(seed), names, wanted)
    assert len(set(chosen)) == wanted and set(chosen) <= set(names)


def test_every_ordered_pair_of_views_is_drawn_about_equally():
    rng = np.random.default_rng(0)
    pairs = [tuple(sampling.choose_views(rng, ("1", "2", "3"), 2)) for _ in range(1200)]
    counts = {pair: pairs.count(pair) for pair in set(pairs)}
    assert len(counts) == 6
    assert all(140 < count < 260 for count in counts.values())


def test_a_fixed_target_comes_first_and_sources_are_the_chosen_ones():
    rng = np.random.default_rng(0)
    drawn = [sampling.choose_views(rng, "1234", 3, "2", ("1", "3", "4")) for _ in range(200)]
    assert {views[0] for views in drawn} == {"2"}
    assert {tuple(sorted(views[1:])) for views in drawn} == {("1", "3"), ("1", "4"), ("3", "4")}
    only = {tuple(sampling.choose_views(rng, "1234", 2, "1", ("4",))) for _ in range(20)}
    assert only == {("1", "4")}
    others = {sampling.choose_views(rng, "123", 2, "3")[1] for _ in range(50)}
    assert others == {"1", "2"}


@pytest.mark.parametrize(
    ("target", "sources", "usable"),
    [
        ("", (), ["123", "12", "13", "23"]),
        ("2", (), ["123", "12", "", "23"]),
        ("2", ("3",), ["23", "2", "", "23"]),
        ("", ("1", "3"), ["13", "1", "13", "3"]),
    ],
)
def test_views_that_a_sample_can_have(target, sources, usable):
    for views, wanted in zip(("123", "12", "13", "23"), usable, strict=True):
        assert sampling.usable_views(views, target, sources) == set(wanted)
        if wanted:
            rng = np.random.default_rng(0)  # as many as there are
            assert set(sampling.choose_views(rng, views, 3, target, sources)) == set(wanted)
