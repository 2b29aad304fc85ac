"""One sample: what is drawn for it, and what it shows."""

import numpy as np
import pytest
from colours import shown
from ml_collections import FrozenConfigDict

from mv2mae_jax.data import augment, samples
from mv2mae_jax.data.records import Activity, RecordSource, load_index
from mv2mae_jax.data.samples import (
    Video,
    draw_pretraining,
    finetuning_sample,
    pretraining_sample,
)


def first_activity(config):
    """The first activity of `colours`, its records, and the config's part of data."""
    index = load_index(config.data.data_dir, "colours")
    return index.activities[0], RecordSource(index), FrozenConfigDict(config.data)


@pytest.mark.parametrize("crops", ["independent", "shared"])
@pytest.mark.parametrize("task", ["pretrain", "finetune"])
def test_repeats_are_cropped_by_draws_of_their_own(config, monkeypatch, task, crops):
    """Frames have one colour, so that crops do not show: what they are cut by is recorded."""
    config.data.repeats, config.data.crops = 4, crops
    activity, records, data = first_activity(config)
    item, make_sample = activity, pretraining_sample
    if task == "finetune":
        item, make_sample = Video(activity, "1"), finetuning_sample
    cut, random_crop = [], augment.random_crop

    def recorded(clip, draw, out):
        cut.append(draw)
        random_crop(clip, draw, out)

    monkeypatch.setattr(augment, "random_crop", recorded)
    make_sample(data, 0, records, 0, item)
    views = 2 if task == "pretrain" else 1
    assert len(cut) == 4 * views
    assert all(len(set(cut[view::views])) == 4 for view in range(views))


@pytest.mark.parametrize("varied", ["seed", "number"])
def test_finetuning_samples_of_a_video_are_clips_from_all_over_it(config, varied):
    activity, records, data = first_activity(config)
    starts = set()
    for value in range(20):
        seed, number = (value, 0) if varied == "seed" else (0, value)
        sample = finetuning_sample(data, seed, records, number, Video(activity, "1"))
        starts.add(shown(sample["clips"][0])[2][0])
    assert len(starts) > 5


@pytest.mark.parametrize("crops", ["independent", "shared"])
def test_crops_are_drawn_per_view_or_per_activity(config, crops):
    config.data.crops = crops
    config.data.flip = True
    data = FrozenConfigDict(config.data)
    activity = load_index(config.data.data_dir, "colours").activities[0]
    draws = [draw_pretraining(data, 0, number, activity) for number in range(100)]
    same = sum(first == second for ((first, second),) in (d.augmentations for d in draws))
    assert same == 100 if crops == "shared" else same < 10


def test_draws_of_earlier_versions_stay(config):
    """Recorded before there was RandAugment: a run that goes on sees the same crops."""
    config.data.flip = True
    config.data.repeats = 2
    activity = Activity(0, "a", 0, "", "", {"1": 100, "2": 90, "3": 95})
    config.data.num_frames, config.data.stride = 16, 4
    views, times, augmentations = draw_pretraining(config.data, 7, 12345, activity)
    assert views == ["2", "3"] and times[0] == 7
    assert [[tuple(draw.crop) for draw in views] for views in augmentations] == [
        [(1.0, 1.0, (1, 1), True), (0.75, 0.875, (4, 4), True)],
        [(0.875, 1.0, (2, 2), True), (0.75, 0.66, (2, 4), False)],
    ]


def test_draws_of_finetuning_stay(config, monkeypatch):
    """A run that goes on sees the same times, operations and crops."""
    config.data.update({"flip": True, "repeats": 3, "num_frames": 3})
    config.data.randaug.operations = 2
    activity, records, data = first_activity(config)
    drawn = []
    monkeypatch.setattr(samples, "augmented", lambda clip, draw, out: drawn.append((clip, draw)))
    finetuning_sample(data, 7, records, 12345, Video(activity, "1"))
    clips, draws = zip(*drawn, strict=True)
    assert [shown(clip) for clip in clips] == [(0, "1", [6, 9, 12])] * 3
    assert [[(name, round(amount, 4)) for name, amount in draw.operations] for draw in draws] == [
        [("translate_y", 0.7865)],
        [],
        [],
    ]
    assert [tuple(draw.crop) for draw in draws] == [
        (0.75, 0.75, (0, 0), True),
        (0.66, 0.75, (1, 3), True),
        (0.66, 0.66, (2, 2), True),
    ]


def test_the_length_of_a_view_that_is_not_drawn_does_not_matter(config):
    config.data.num_frames, config.data.stride = 16, 4
    draws = [
        draw_pretraining(
            config.data, 7, 12345, Activity(0, "a", 0, "", "", {"1": length, "2": 90, "3": 95})
        )
        for length in (100, 50)
    ]
    assert [draw.views for draw in draws] == [["2", "3"]] * 2
    assert np.array_equal(draws[0].times, draws[1].times) and draws[1].times[-1] > 50
