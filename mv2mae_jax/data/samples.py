"""What training and testing read of one activity or video: what is drawn for it, and its clips.

Everything random in sample `number` of a training run is a function of (seed, number) alone.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Int, UInt8
from ml_collections import ConfigDict, FrozenConfigDict

from mv2mae_jax.data import augment, randaugment, sampling
from mv2mae_jax.data.decode import decode_frames
from mv2mae_jax.data.records import Activity, DamagedRecord, RecordSource
from mv2mae_jax.errors import InputError, one_line

Sample = dict[str, np.ndarray]  # a batch of the repeats of one activity or video, or of one video


class Video(NamedTuple):
    """One view of an activity."""

    activity: Activity
    view: str


Item = TypeVar("Item", bound=Activity | Video)  # what a sample is made of


class Augmentation(NamedTuple):
    """What is drawn for a clip, in the order in which it is applied."""

    operations: tuple[randaugment.Operation, ...]
    crop: augment.Crop


class PretrainingDraw(NamedTuple):
    """The random choices of a pre-training sample.

    Attributes:
      views: names, the target first.
      times: frames of the clip, the same in all views.
      augmentations: of each view, R times.
    """

    views: list[str]
    times: Int[np.ndarray, " T"]
    augmentations: list[list[Augmentation]]


def unit(config: ConfigDict) -> str:
    """What training samples are called: pairs of two views, samples of another number, clips."""
    if config.task == "finetune":
        return "clips"
    return "pairs" if config.data.num_views == 2 else "samples"


def draw_pretraining(
    data: ConfigDict, seed: int, number: int, activity: Activity
) -> PretrainingDraw:
    """All that is random in pre-training sample `number`.

    Views and times are drawn once, augmentations R times.

    Args:
      data: `config.data`.
      seed: `config.seed`.
      number: of the sample, from the start of training.
      activity: that the sample is of.
    """
    rng = np.random.default_rng((seed, number))
    views = sampling.choose_views(
        rng, activity.views, data.num_views, data.target_view, source_views(data)
    )
    shortest = min(activity.views[view] for view in views)
    times = sampling.random_clip(rng, shortest, data.num_frames, data.stride)
    augmentations = [_draw_views(data, rng) for _ in range(data.repeats)]
    return PretrainingDraw(views, times, augmentations)


def augmented(
    clip: UInt8[np.ndarray, "T H W 3"], draw: Augmentation, out: UInt8[np.ndarray, "T size size 3"]
) -> None:
    """A training clip as drawn, into `out`: RandAugment of the stored frames, crop and flip."""
    augment.random_crop(randaugment.randaugment(clip, draw.operations), draw.crop, out)


def pretraining_sample(
    data: FrozenConfigDict, seed: int, records: RecordSource, number: int, activity: Activity
) -> Sample:
    """Sample `number`: clips [R V T H W 3] as drawn, with the running numbers of the repeats."""
    views, times, augmentations = draw_pretraining(data, seed, number, activity)
    decoded = [decode(records, activity, view, times) for view in views]
    clips = _empty_clips(data, data.repeats, data.num_views)
    for repeat, draws in zip(clips, augmentations, strict=True):
        for out, clip, draw in zip(repeat, decoded, draws, strict=True):
            augmented(clip, draw, out)
    return {"clips": clips, "index": _running_index(number, data.repeats)}


def finetuning_sample(
    data: FrozenConfigDict, seed: int, records: RecordSource, number: int, video: Video
) -> Sample:
    """Sample `number`: one draw of times, R draws of augmentations; clips [R T H W 3]."""
    activity, view = video
    rng = np.random.default_rng((seed, number))
    times = sampling.random_clip(rng, activity.views[view], data.num_frames, data.stride)
    augmentations = [_draw_augmentation(data, rng) for _ in range(data.repeats)]
    decoded = decode(records, activity, view, times)
    clips = _empty_clips(data, data.repeats)
    for out, draw in zip(clips, augmentations, strict=True):
        augmented(decoded, draw, out)
    return {
        "clips": clips,
        "label": np.full(data.repeats, activity.label, np.int32),
        "index": _running_index(number, data.repeats),
    }


def replacing_damaged(
    make_sample: Callable[[int, Item], Sample],
    items: Sequence[Item],
    bad_records: int,
    seed: int,
    number: int,
    item: Item,
) -> Sample:
    """Training sample `number`; if its record is damaged, of another item, drawn for that.

    Which is a function of (seed, number) and of what is damaged, so that it is the same in any
    process and when a run is continued.

    Args:
      make_sample: makes a sample of its number and item.
      items: that others are drawn from; of more activities than `bad_records`.
      bad_records: `config.data.bad_records`.
      seed: `config.seed`.
      number: of the sample, from the start of training.
      item: that it should be of.

    Returns:
      The sample, with "damaged": strings [D 2], the activities that were met and could not be
      read, and why.

    Raises:
      InputError: there were more of them than `bad_records`.
    """
    damaged: dict[str, str] = {}
    others = np.random.default_rng((seed, number, 1))  # not what the sample is drawn from
    while True:
        try:
            sample = make_sample(number, item)
        except DamagedRecord as error:
            damaged[error.activity] = error.reason
            allow_damaged(damaged, bad_records)
            item = items[int(others.integers(len(items)))]
        else:
            return sample | {"damaged": np.array(list(damaged.items()), str).reshape(-1, 2)}


def allow_damaged(damaged: Mapping[str, str], bad_records: int) -> None:
    """Looks at how many activities could not be read.

    Args:
      damaged: what is wrong with each.
      bad_records: `config.data.bad_records`.

    Raises:
      InputError: they are too many.
    """
    if len(damaged) > bad_records:
        named = ", ".join(f"{activity} ({reason})" for activity, reason in damaged.items())
        raise InputError(
            f"cannot read {named}: more activities than config.data.bad_records={bad_records}; "
            "`python -m mv2mae_jax.prepare verify` names all that are damaged; delete the data set "
            "and build it again, or allow more to train without them"
        )


def evaluation_sample(
    data: FrozenConfigDict,
    clips: int,
    crops: int,
    records: RecordSource,
    number: int,
    video: Video,
) -> Sample:
    """All clips of video `number`; each of its frames is decoded once."""
    activity, view = video
    times = sampling.spaced_clips(activity.views[view], data.num_frames, data.stride, clips)
    frames = decode(records, activity, view, times.ravel())
    frames = augment.fit_for_crops(frames, data.image_size, crops)
    frames = frames.reshape(1, *times.shape, *frames.shape[1:])
    return evaluation_video(frames, activity.label, number)


def unless_damaged(
    make_sample: Callable[[int, Video], Sample],
    blank: UInt8[np.ndarray, "1 K T h w 3"],
    number: int,
    video: Video,
) -> Sample:
    """Video `number`; if its record is damaged a blank one, with "damaged" as in training."""
    try:
        return make_sample(number, video)
    except DamagedRecord as error:
        damaged = np.array([(error.activity, error.reason)], str)
        return evaluation_video(blank, -1, -1) | {"damaged": damaged}


def evaluation_video(clips: UInt8[np.ndarray, "1 K T h w 3"], label: int, video: int) -> Sample:
    """A video as `evaluation_batches` makes it; one without a number is blank."""
    return {
        "clips": clips,
        "label": np.array([label], np.int32),
        "video": np.array([video], np.int32),
        "valid": np.array([video >= 0]),
        "damaged": np.empty((0, 2), str),
    }


def _empty_clips(data: ConfigDict, *shape: int) -> UInt8[np.ndarray, "*N T size size 3"]:
    size = data.image_size
    return np.empty((*shape, data.num_frames, size, size, 3), np.uint8)


def decode(
    records: RecordSource, activity: Activity, view: str, times: Int[np.ndarray, " T"]
) -> UInt8[np.ndarray, "T h w 3"]:
    """Frames of a view at these times.

    Raises:
      DamagedRecord: they cannot be read, or not be decoded.
    """
    jpegs = records.frames(activity.position, view, times)
    try:
        return decode_frames(jpegs, times)
    except ValueError as error:
        reason = f"view {view} cannot be decoded ({one_line(error)})"
        raise DamagedRecord(activity.id, reason) from error


def _draw_views(data: ConfigDict, rng: np.random.Generator) -> list[Augmentation]:
    """An augmentation for each view: one draw for each, or the same for all."""
    num_draws = data.num_views if data.crops == "independent" else 1
    draws = [_draw_augmentation(data, rng) for _ in range(num_draws)]
    return draws * (data.num_views // num_draws)


def _draw_augmentation(data: ConfigDict, rng: np.random.Generator) -> Augmentation:
    operations = randaugment.draw_operations(rng, **data.randaug)
    return Augmentation(operations, augment.CROPS[data.crop](rng, data))


def _running_index(number: int, repeats: int) -> Int[np.ndarray, " R"]:
    return np.arange(number * repeats, (number + 1) * repeats, dtype=np.int32)


def source_views(data: ConfigDict) -> set[str]:
    """Names in `data.source_views`; on the command line `(2, 3)` are numbers."""
    return {str(view) for view in data.source_views}
