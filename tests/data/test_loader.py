"""Batches read back: which frames are in them, in which order, whoever makes them."""

import multiprocessing

import numpy as np
import pytest
from batches import assert_same, take
from colours import (
    ACTIVITIES,
    LABELS,
    ONE_VIEW,
    VIEWS,
    colour_of,
    frames_of,
    shown,
)
from data_sets import build_data_set
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mv2mae_jax.data import augment, loader, randaugment, splits
from mv2mae_jax.data.decode import decode_frames
from mv2mae_jax.data.records import Activity, RecordSource, load_index
from mv2mae_jax.data.samples import draw_pretraining
from mv2mae_jax.errors import InputError

USABLE = ACTIVITIES - 1  # with two views or more


def test_pretraining_samples_are_synchronised_views_of_one_activity(config):
    steps = loader.steps_per_epoch(config)
    for batch in take(loader.pretraining_batches(config), 2 * steps):
        assert batch["clips"].shape == (4, 2, 4, 32, 32, 3) and batch["clips"].dtype == np.uint8
        assert batch["index"].dtype == np.int32
        for sample in batch["clips"]:
            (activity, view, times), (other_activity, other_view, other_times) = map(shown, sample)
            assert activity == other_activity and view != other_view
            assert times == other_times
            length = min(frames_of(activity, view), frames_of(activity, other_view))
            assert times[0] >= 0 and times[-1] <= length - 1
            if length >= 10:  # a clip of 4 frames at stride 3 spans 10
                assert np.diff(times).tolist() == [3, 3, 3]
            else:
                assert times == [0, 3, 6, length - 1]


def test_three_views_of_an_activity_in_one_sample(config):
    config.data.num_views = 3
    (batch,) = take(loader.pretraining_batches(config), 1)
    for sample in batch["clips"]:
        assert sorted(view for _, view, _ in map(shown, sample)) == list(VIEWS)


def test_every_activity_once_per_epoch_in_a_new_order(config):
    config.batch_size = USABLE
    epochs = [
        [shown(sample[0])[0] for sample in batch["clips"]]
        for batch in take(loader.pretraining_batches(config), 3)
    ]
    assert [sorted(epoch) for epoch in epochs] == [list(range(USABLE))] * 3
    assert epochs[0] != epochs[1] != epochs[2]
    assert ONE_VIEW not in epochs[0]


@pytest.mark.parametrize("task", ["pretrain", "finetune"])
def test_ids_of_a_batch_are_of_what_it_shows(config, task):
    config.task = task
    make = loader.pretraining_batches if task == "pretrain" else loader.finetuning_batches
    for step, batch in enumerate(take(make(config), 5)):
        clips = batch["clips"][:, 0] if task == "pretrain" else batch["clips"]
        seen = [shown(clip)[:2] for clip in clips]
        view_of = "" if task == "pretrain" else ":{1}"
        expected = [("a{0:02}" + view_of).format(*activity_and_view) for activity_and_view in seen]
        assert loader.batch_ids(config, step) == expected


def test_a_run_has_no_more_samples_than_numbers(config):
    config.data.repeats = 100
    per_epoch = USABLE // 4 * 4 * 100
    config.epochs = (2**31 - 1) // per_epoch
    assert loader.steps_per_epoch(config) == USABLE // 4
    config.epochs += 1
    with pytest.raises(InputError, match=r"at most 2,147,483,647; lower config\.epochs"):
        loader.steps_per_epoch(config)


def test_incomplete_last_batch_is_dropped_and_others_next_time(config):
    assert loader.num_samples(config) == USABLE and loader.steps_per_epoch(config) == USABLE // 4
    batches = take(loader.pretraining_batches(config), 12)
    drawn = [shown(sample[0])[0] for batch in batches for sample in batch["clips"]]
    epochs = [drawn[start : start + 12] for start in range(0, 48, 12)]
    assert all(len(set(epoch)) == 12 for epoch in epochs)
    assert len({frozenset(epoch) for epoch in epochs}) > 1


def test_the_order_of_training_stays(config):
    """Grain's shuffle: a run that goes on sees the samples that it would have seen."""
    config.seed = 7
    activities = [Activity(n, name, 0, "", "", {}) for n, name in enumerate("abcdefghijk")]
    order = loader.training_order(config, activities)  # 8 of 11 an epoch
    epochs = [[order[8 * epoch + place].id for place in range(8)] for epoch in (0, 1, 12345)]
    assert ["".join(ids) for ids in epochs] == ["hjaiecfg", "gaechjbk", "ifgadceh"]


def test_index_runs_on_and_counts_repeats(config):
    config.data.repeats = 3
    batches = take(loader.pretraining_batches(config), 5)
    assert np.concatenate([b["index"] for b in batches]).tolist() == list(range(60))
    assert take(loader.pretraining_batches(config, start_step=2), 1)[0]["index"][0] == 24


def test_repeats_are_of_the_same_frames_and_label(config):
    config.data.repeats = 4
    (batch,) = take(loader.finetuning_batches(config), 1)
    assert batch["clips"].shape[0] == batch["label"].shape[0] == 16
    for start in range(0, 16, 4):
        repeats = batch["clips"][start : start + 4]
        assert len({str(shown(clip)) for clip in repeats}) == 1
        assert len(set(batch["label"][start : start + 4])) == 1


@pytest.mark.parametrize("task", ["pretrain", "finetune"])
def test_seed_changes_order_and_draws(config, task):
    config.task = task
    config.data.train_fraction, config.batch_size = 1e-6, 2  # so few that orders are partly alike
    make = loader.pretraining_batches if task == "pretrain" else loader.finetuning_batches

    def order_and_clips():
        order = [loader.batch_ids(config, step) for step in range(12)]
        return np.array(order), np.array([batch["clips"] for batch in take(make(config), 12)])

    order, clips = order_and_clips()
    again, same_clips = order_and_clips()
    assert np.array_equal(again, order) and np.array_equal(same_clips, clips)
    config.seed = 1
    other_order, other_clips = order_and_clips()
    alike = order == other_order
    assert alike.any() and not alike.all()
    assert not np.array_equal(other_clips[alike], clips[alike])


@pytest.mark.parametrize(
    ("make", "workers"),
    [
        (loader.pretraining_batches, 1),
        (loader.pretraining_batches, 2),
        (loader.finetuning_batches, 2),
    ],
)
def test_worker_processes_change_nothing(config, make, workers):
    expected = take(make(config, 1), 5)
    config.data.workers = workers
    assert_same(take(make(config, 1), 5), expected)
    assert not multiprocessing.active_children()  # closed: nothing is left running


def test_samples_handed_over_together_are_those_one_by_one(config):
    config.batch_size = 6
    expected = take(loader.pretraining_batches(config, 1), 5)
    config.data.workers, config.data.threads = 2, 1
    parts = loader.pretraining_batches(config, 1)._samples._samples
    assert len(parts[0]["index"]) == 3
    assert_same(take(loader.pretraining_batches(config, 1), 5), expected)


def test_threads_change_nothing(config):
    expected = take(loader.pretraining_batches(config), 5)
    config.data.threads = 1
    assert_same(take(loader.pretraining_batches(config), 5), expected)


@settings(
    deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(start=st.integers(0, 1000), processes=st.sampled_from([1, 2, 4]))
def test_any_step_is_the_same_from_anywhere(config, start, processes):
    """Resumed at a step, on any number of processes: the samples of an uninterrupted run."""
    (_, expected) = take(loader.pretraining_batches(config, max(0, start - 1)), 2)
    if start == 0:
        (expected,) = take(loader.pretraining_batches(config), 1)
    shares = [
        take(loader.pretraining_batches(config, start, process, processes), 1)[0]
        for process in range(processes)
    ]
    assert {len(share["index"]) for share in shares} == {4 // processes}
    order = np.argsort(np.concatenate([share["index"] for share in shares]))
    united = {key: np.concatenate([s[key] for s in shares])[order] for key in expected}
    assert_same([united], [expected])
    assert united["index"].tolist() == list(range(4 * start, 4 * start + 4))


def test_uninterrupted_and_resumed_at_every_step(config):
    whole = take(loader.finetuning_batches(config), 12)
    for step in range(12):
        assert_same(take(loader.finetuning_batches(config, step), 1), whole[step : step + 1])


def test_finetuning_sees_every_video_with_its_label(config):
    config.task = "finetune"
    videos = 3 * ACTIVITIES - 2
    assert loader.num_samples(config) == videos
    config.batch_size = videos
    (batch,) = take(loader.finetuning_batches(config), 1)
    seen = []
    for clip, label in zip(batch["clips"], batch["label"], strict=True):
        activity, view, _ = shown(clip)
        assert label == activity % 3
        seen.append((activity, view))
    assert len(set(seen)) == videos


def test_a_fraction_of_the_activities_trains_with_all_their_views(config):
    config.task, config.data.train_fraction = "finetune", 0.4  # of 5, 5 and 4 a class: 2 each
    config.batch_size = loader.num_samples(config)
    (batch,) = take(loader.finetuning_batches(config), 1)
    seen = [shown(clip)[:2] for clip in batch["clips"]]
    activities = {activity for activity, _ in seen}
    assert sorted(activity % 3 for activity in activities) == [0, 0, 1, 1, 2, 2]
    assert len(seen) == len(set(seen)) == sum(1 if a == ONE_VIEW else 3 for a in activities)
    config.task = "pretrain"
    assert loader.num_samples(config) == len(activities - {ONE_VIEW})


def test_the_test_view_is_only_in_the_test_split(config):
    config.data.protocol = "xview"
    config.data.test_views = ("1",)
    config.data.validation_subjects = ("bob",)
    for make in (loader.pretraining_batches, loader.finetuning_batches):
        for batch in take(make(config), 8):
            for clip in batch["clips"].reshape(-1, 4, 32, 32, 3):
                assert shown(clip)[1] in ("2", "3")
    for split, views in (("validation", {"2", "3"}), ("test", {"1"})):
        batches = take(loader.evaluation_batches(config, split, clips=1, crops=1), None)
        clips = [clip for batch in batches for clip in batch["clips"][batch["valid"], 0]]
        assert {shown(clip)[1] for clip in clips} == views


@pytest.fixture(scope="module")
def two_sizes(tmp_path_factory):
    """A data set of five wide and two tall videos, every other one tall at first."""
    shapes = [(40, 60), (60, 40), (40, 60), (60, 40), (40, 60), (40, 60), (40, 60)]

    def frames(n, shape):
        return [np.full((*shape, 3), colour_of(n, "1", t), np.uint8) for t in range(12)]

    videos = ((f"a{n}", "1", "turn", "", frames(n, shape)) for n, shape in enumerate(shapes))
    return build_data_set(tmp_path_factory.mktemp("two_sizes"), "sizes", videos)


@pytest.mark.parametrize(("crops", "shapes"), [(1, {(32, 32)}), (10, {(37, 56), (56, 37)})])
def test_evaluation_batches_videos_of_one_size_and_each_video_once(
    config, two_sizes, crops, shapes
):
    config.data.data_dir, config.data.dataset = str(two_sizes), "sizes"
    batches = take(loader.evaluation_batches(config, "train", 1, crops), None)
    assert {batch["clips"].shape for batch in batches} == {(4, 1, 4, *s, 3) for s in shapes}
    for batch in batches:
        for clips, video, valid in zip(batch["clips"], batch["video"], batch["valid"], strict=True):
            assert valid == (video >= 0) == clips.any()
            if valid:
                assert shown(clips[0])[0] == video
    seen = np.concatenate([batch["video"] for batch in batches])
    assert sorted(seen[seen >= 0]) == list(range(7))
    # One size: two batches of 4; two sizes: two batches for the five wide videos, one for the tall.
    assert len(batches) == {1: 2, 10: 3}[crops]


@pytest.mark.parametrize(
    ("batch_size", "processes", "devices", "share"),
    [(16, 1, 1, 16), (16, 1, 3, 18), (16, 2, 8, 8), (16, 2, 3, 9), (1, 4, 2, 2)],
)
def test_evaluation_batches_are_rounded_up_to_the_devices(
    config, batch_size, processes, devices, share
):
    config.evaluation.batch_size = batch_size
    (batch,) = take(loader.evaluation_batches(config, "train", 1, 1, 0, processes, devices), 1)
    assert len(batch["valid"]) == share


def test_evaluation_sees_every_video_once_and_says_what_is_padding(config):
    config.evaluation.batch_size = 6
    batches = take(loader.evaluation_batches(config, "train", clips=2, crops=5), None)
    # 36 pixels are nearly 8/7 of 32: frames are as they are stored.
    assert all(batch["clips"].shape == (6, 2, 4, 36, 48, 3) for batch in batches)
    flat = {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}
    videos = [(n, v) for n in range(ACTIVITIES) for v in VIEWS[: 1 if n == ONE_VIEW else None]]
    assert flat["valid"].tolist() == [True] * 40 + [False] * 2
    assert flat["label"].tolist() == [n % 3 for n, _ in videos] + [-1, -1]
    assert flat["video"].tolist() == [*range(40), -1, -1]
    listed = splits.split_videos(config, "train")
    assert [(video.activity.position, video.view) for video in listed] == videos
    assert not flat["clips"][40:].any()
    for (activity, view), clips in zip(videos, flat["clips"][:40], strict=True):
        last = max(0, frames_of(activity, view) - 10)
        for start, clip in zip((0, last), clips, strict=True):
            end = frames_of(activity, view) - 1
            times = [min(start + step, end) for step in (0, 3, 6, 9)]
            assert shown(clip) == (activity, view, times)


@pytest.mark.parametrize(("processes", "workers"), [(2, 0), (3, 0), (1, 2), (2, 3), (64, 0)])
def test_evaluation_of_processes_and_workers_is_that_of_one(config, processes, workers):
    whole = evaluated(take(loader.evaluation_batches(config, "train", 1, 1), None))
    config.data.workers = workers
    shares = [
        evaluated(take(loader.evaluation_batches(config, "train", 1, 1, p, processes), None))
        for p in range(processes)
    ]
    assert sum(map(len, shares)) == len(whole) == 40
    for process, share in enumerate(shares):
        assert list(share) == list(range(process, 40, processes))
        for video, sample in share.items():
            assert_same([sample], [whole[video]])


def evaluated(batches):
    """What batches hold of each valid video."""
    return {
        batch["video"][row]: {key: value[row] for key, value in batch.items()}
        for batch in batches
        for row in np.flatnonzero(batch["valid"])
    }


def with_randaug(config):
    config.data.randaug.operations = 4
    config.data.crop = "random_resized"
    config.data.repeats = 3


def test_randaug_changes_colours_alike_in_all_frames_and_otherwise_in_each_repeat(config):
    config.data.stride = 0  # all frames of a clip are one, so that they must stay so
    (plain,) = take(loader.finetuning_batches(config), 1)
    with_randaug(config)
    (batch,) = take(loader.finetuning_batches(config), 1)
    clips = batch["clips"].astype(int)
    assert np.array_equal(clips, np.repeat(clips[:, :1], 4, axis=1))
    changed = np.abs(clips[::3] - plain["clips"]).max(axis=(1, 2, 3, 4)) > 20
    assert changed.any()
    assert any(np.abs(clips[i] - clips[i + 1]).max() > 20 for i in range(0, 12, 3))


@pytest.mark.parametrize("make", [loader.pretraining_batches, loader.finetuning_batches])
def test_randaug_does_not_depend_on_workers(config, make):
    with_randaug(config)
    expected = take(make(config, 1), 3)
    config.data.workers = 2
    assert_same(take(make(config, 1), 3), expected)


def test_a_sample_is_its_draw_applied_to_its_frames(config):
    """RandAugment of the stored frames comes before crop and flip."""
    with_randaug(config)
    index = load_index(config.data.data_dir, "colours")
    (batch,) = take(loader.pretraining_batches(config), 1)
    usable = [activity for activity in index.activities if len(activity.views) > 1]
    order = loader.training_order(config, usable)
    records = RecordSource(index)
    for number in range(config.batch_size):
        draw = draw_pretraining(config.data, 0, number, order[number])
        for repeat, draws in enumerate(draw.augmentations):
            for v, (operations, crop) in enumerate(draws):
                jpegs = records.frames(order[number].position, draw.views[v], draw.times)
                clip = randaugment.randaugment(decode_frames(jpegs, draw.times), operations)
                expected = np.empty((4, 32, 32, 3), np.uint8)
                augment.random_crop(clip, crop, expected)
                assert np.array_equal(batch["clips"][3 * number + repeat, v], expected)


def test_what_is_shorter_than_a_clip_is_reported(config, caplog):
    activities = loader.pretraining_activities(config)
    shortest = sorted(min(activity.views.values()) for activity in activities)
    lengths = sorted(n for activity in activities for n in activity.views.values())
    config.data.num_frames, config.data.stride = 2, shortest[0] - 1
    loader.pretraining_batches(config).close()
    assert "that a clip spans" not in caplog.text
    config.data.stride = shortest[0]
    loader.pretraining_batches(config).close()
    says = f"have fewer than the {shortest[0] + 1} frames that a clip spans"
    count = shortest.count(shortest[0])
    assert f"{count} of {len(shortest)} training activities {says}" in caplog.text
    loader.finetuning_batches(config).close()
    count = lengths.count(shortest[0])
    assert f"{count} of {len(splits.split_videos(config, 'train'))} training videos" in caplog.text


def test_activities_without_enough_views_are_reported(config, caplog):
    loader.pretraining_batches(config).close()
    assert "1 of 14 training activities have fewer than 2 views and are not used" in caplog.text


def test_activities_without_the_target_view_are_reported_as_such(config, caplog):
    """They may have other views, and more than are asked for."""
    config.data.protocol, config.data.target_view = "all", VIEWS[-1]
    loader.pretraining_batches(config).close()
    assert "views that config.data.target_view and source_views permit and are not" in caplog.text


def test_class_names(config):
    assert splits.class_names(config) == LABELS


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("data.num_views", 4, r"num_views=4 but .* at most 3 training views; set .*num_views=3"),
        ("data.source_views", ("1",), r"at most 1 training views that config.data.target_view and"),
        ("data.target_view", "9", r"target_view or source_views: 9 is no training view"),
        ("batch_size", 40, r"^config\.batch_size=40 but .* only 13 training samples"),
        ("data.protocol", "xset", r"no protocol 'xset'"),
        ("data.dataset", "shades", r"no data set in .*shades"),
        ("data.dataset", "colors", r"no data set in .*colors; .*; did you mean colours\?$"),
    ],
)
def test_impossible_settings_are_input_errors(config, field, value, message):
    config.update_from_flattened_dict({field: value})
    with pytest.raises(InputError, match=message) as error:
        loader.pretraining_batches(config)
    assert "\n" not in str(error.value)


def test_a_batch_that_processes_cannot_share_is_an_input_error(config):
    with pytest.raises(InputError, match=r"cannot be shared evenly by 3 processes; set config\."):
        loader.pretraining_batches(config, 0, 0, 3)


def test_chosen_views_may_be_numbers_as_on_the_command_line(config):
    config.data.target_view, config.data.source_views = "2", (3,)
    (batch,) = take(loader.pretraining_batches(config), 1)
    views = {tuple(shown(clip)[1] for clip in sample) for sample in batch["clips"]}
    assert views == {("2", "3")}


def test_without_a_target_all_views_are_drawn_from_those_named(config):
    config.data.source_views = ("1", "3")
    batches = take(loader.pretraining_batches(config), 4)
    samples = (sample for batch in batches for sample in batch["clips"])
    views = {tuple(shown(clip)[1] for clip in sample) for sample in samples}
    assert views == {("1", "3"), ("3", "1")}
