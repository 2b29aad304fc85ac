"""Batches for pre-training, fine-tuning and evaluation.

Sample number i of a training run, and everything random in it, is a function of (seed, i) alone.
Step s takes samples s B .. (s+1) B - 1, of which process p of n makes every n-th from the p-th on.
So a run goes on from any step without a stored position of the loader, and neither the number of
processes nor that of worker processes or threads changes a sample.

An epoch is one pass over the activities (fine-tuning: the videos) in a new order; the last
incomplete batch is dropped.
"""

import ctypes
import logging
import math
import platform
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import cv2
import grain
import numpy as np
from absl import flags
from jaxtyping import Int, UInt8
from ml_collections import ConfigDict, FrozenConfigDict

from mv2mae_jax.data import augment, sampling
from mv2mae_jax.data.decode import decode_frames
from mv2mae_jax.data.protocols import protocol_classes, split_activities
from mv2mae_jax.data.records import Activity, Index, Record, RecordSource, load_index
from mv2mae_jax.errors import InputError

log = logging.getLogger(__name__)

Batch = dict[str, np.ndarray]
Item = TypeVar("Item")  # what a sample is made of: an activity or a video

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


class Video(NamedTuple):
    """One view of an activity."""

    activity: Activity
    view: str


class PretrainingDraw(NamedTuple):
    """The random choices of a pre-training sample.

    Attributes:
      views: names, the target first.
      times: frames of the clip, the same in all views.
      crops: of each view, R times.
    """

    views: list[str]
    times: Int[np.ndarray, " T"]
    crops: list[list[augment.CropDraw]]


class Batches(Iterator[Batch]):
    """An iterator of batches; `close` it, or use it in a `with` statement, to end its workers."""

    def __init__(self, dataset: grain.IterDataset[Batch]) -> None:
        """Starts nothing yet: the first `next` does."""
        self._iterator = iter(dataset)

    def __next__(self) -> Batch:
        return next(self._iterator)

    def close(self) -> None:
        """Ends threads and worker processes; may be called again."""
        self._iterator.close()

    def __enter__(self) -> "Batches":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def pretraining_batches(
    config: ConfigDict, start_step: int = 0, process_index: int = 0, process_count: int = 1
) -> Batches:
    """Endless batches of synchronised clips from several views of an activity.

    Args:
      config: as in configs/base.py.
      start_step: the step whose batch comes first.
      process_index: which of the processes this is; it makes its share of each batch.
      process_count: how many processes share a batch.

    Returns:
      Batches {"clips": uint8 [B*R V T H W 3], "index": int32 [B*R]}. View 0 is the target. `index`
      numbers the samples from the start of training; the R repeats of an activity are adjacent.

    Raises:
      InputError: the data cannot give such batches.
    """
    index = load_index(config.data.data_dir, config.data.dataset)
    activities = _split(config, index, "train")
    usable = _with_enough_views(config, activities)
    if len(usable) < len(activities):
        log.warning(
            "%d of %d training activities have fewer than %d views and are not used",
            len(activities) - len(usable),
            len(activities),
            config.data.num_views,
        )
    make_sample = partial(
        _pretraining_sample, FrozenConfigDict(config.data), config.seed, RecordSource(index)
    )
    return _training_batches(config, usable, make_sample, start_step, process_index, process_count)


def finetuning_batches(
    config: ConfigDict, start_step: int = 0, process_index: int = 0, process_count: int = 1
) -> Batches:
    """Endless batches of labelled clips; every view of an activity is a video of its own.

    Args:
      config: as in configs/base.py.
      start_step: the step whose batch comes first.
      process_index: which of the processes this is; it makes its share of each batch.
      process_count: how many processes share a batch.

    Returns:
      Batches {"clips": uint8 [B*R T H W 3], "label": int32 [B*R], "index": int32 [B*R]}; `index`
      as in `pretraining_batches`.

    Raises:
      InputError: the data cannot give such batches.
    """
    index = load_index(config.data.data_dir, config.data.dataset)
    videos = _videos(_split(config, index, "train"))
    make_sample = partial(
        _finetuning_sample, FrozenConfigDict(config.data), config.seed, RecordSource(index)
    )
    return _training_batches(config, videos, make_sample, start_step, process_index, process_count)


def evaluation_batches(
    config: ConfigDict,
    split: str | Sequence[Video],
    clips: int,
    crops: int,
    process_index: int = 0,
    process_count: int = 1,
) -> Batches:
    """Every video of a split once, in the order of the index, several clips and crops of each.

    Args:
      config: as in configs/base.py; `evaluation.batch_size` videos a batch.
      split: train, validation or test; or the videos themselves.
      clips: temporal clips of a video, evenly spaced.
      crops: 1, 5 or 10 spatial crops of each clip, see `augment.fixed_crops`.
      process_index: which of the processes this is; it makes its share of each batch.
      process_count: how many processes share a batch.

    Returns:
      Batches {"clips": uint8 [B K T H W 3], "label": int32 [B], "activity": int32 [B], "valid":
      bool [B]} with K = clips x crops, clip after clip. `activity` is the position of the activity
      in the index: views of the same one share it. The last batch is filled up with blank videos
      that are not valid, so that all batches have the same shape, on all processes.

    Raises:
      InputError: the data cannot give such batches.
    """
    if crops not in augment.CROP_COUNTS:
        raise InputError(f"evaluation.crops is {crops}; it is one of {augment.CROP_COUNTS}")
    index = load_index(config.data.data_dir, config.data.dataset)
    videos = split_videos(config, split) if isinstance(split, str) else split
    batch_size = config.evaluation.batch_size
    share = _share(batch_size, process_count)
    make_sample = partial(
        _evaluation_sample, FrozenConfigDict(config.data), clips, crops, RecordSource(index), videos
    )
    padded = math.ceil(len(videos) / batch_size) * batch_size
    samples = grain.MapDataset.range(padded).map(make_sample)
    return _batches(config, samples[process_index::process_count], share)


def split_videos(config: ConfigDict, split: str) -> list[Video]:
    """The videos of a split, in the order of the index.

    Raises:
      InputError: the data set or its split cannot be used as configured.
    """
    index = load_index(config.data.data_dir, config.data.dataset)
    return _videos(_split(config, index, split))


def class_names(config: ConfigDict) -> tuple[str, ...]:
    """Names of the classes that the configured protocol tells apart; labels count them from 0.

    Raises:
      InputError: the data set has not been built, or its index cannot be read.
    """
    index = load_index(config.data.data_dir, config.data.dataset)
    return protocol_classes(index, config.data.protocol)


def num_classes(config: ConfigDict) -> int:
    """Number of classes that the configured protocol tells apart.

    Raises:
      InputError: as for `class_names`.
    """
    return len(class_names(config))


def num_samples(config: ConfigDict) -> int:
    """Samples of an epoch: activities in pre-training (`config.task`), otherwise videos.

    Raises:
      InputError: the data set or its training split cannot be used as configured.
    """
    index = load_index(config.data.data_dir, config.data.dataset)
    if config.task == "pretrain":
        return len(_with_enough_views(config, _split(config, index, "train")))
    return len(_videos(_split(config, index, "train")))


def steps_per_epoch(config: ConfigDict) -> int:
    """Steps of an epoch; the last incomplete batch is dropped.

    Raises:
      InputError: there is not one whole batch in the data, or they cannot be used as configured.
    """
    return _whole_batches(config, num_samples(config))


def training_order(config: ConfigDict, items: Sequence[Item]) -> grain.MapDataset[Item]:
    """What sample 0, 1, 2, … is made of: epoch after epoch, each in a new order, without end.

    Raises:
      InputError: the items do not fill one batch.
    """
    per_epoch = _whole_batches(config, len(items)) * config.batch_size
    return grain.MapDataset.source(items).seed(config.seed).shuffle()[:per_epoch].repeat()


def draw_pretraining(
    data: ConfigDict, seed: int, number: int, activity: Activity
) -> PretrainingDraw:
    """All that is random in pre-training sample `number`: one draw of views and times, R of crops.

    Args:
      data: `config.data`.
      seed: `config.seed`.
      number: of the sample, from the start of training.
      activity: that the sample is of.
    """
    rng = np.random.default_rng((seed, number))
    views = sampling.choose_views(rng, tuple(activity.views), data.num_views)
    shortest = min(activity.views[view] for view in views)
    times = sampling.random_clip(rng, shortest, data.num_frames, data.stride)
    crops = [_draw_crops(data, rng) for _ in range(data.repeats)]
    return PretrainingDraw(views, times, crops)


def _pretraining_sample(
    data: FrozenConfigDict, seed: int, records: RecordSource, number: int, activity: Activity
) -> Batch:
    views, times, crops = draw_pretraining(data, seed, number, activity)
    record = records[activity.position]
    decoded = [_decode(record, view, times) for view in views]
    clips = [
        [
            augment.random_crop(clip, draw, data.image_size)
            for clip, draw in zip(decoded, draws, strict=True)
        ]
        for draws in crops
    ]
    return {"clips": np.array(clips), "index": _running_index(number, data.repeats)}


def _finetuning_sample(
    data: FrozenConfigDict, seed: int, records: RecordSource, number: int, video: Video
) -> Batch:
    """Sample `number`: one draw of times, R draws of crops."""
    activity, view = video
    rng = np.random.default_rng((seed, number))
    times = sampling.random_clip(rng, activity.views[view], data.num_frames, data.stride)
    decoded = _decode(records[activity.position], view, times)
    draws = [augment.draw_crop(rng, data.crop_scales, data.flip) for _ in range(data.repeats)]
    clips = [augment.random_crop(decoded, draw, data.image_size) for draw in draws]
    return {
        "clips": np.stack(clips),
        "label": np.full(data.repeats, activity.label, np.int32),
        "index": _running_index(number, data.repeats),
    }


def _evaluation_sample(
    data: FrozenConfigDict,
    clips: int,
    crops: int,
    records: RecordSource,
    videos: Sequence[Video],
    number: int,
) -> Batch:
    """All clips and crops of video `number`; past the last video a blank one."""
    if number >= len(videos):
        shape = (clips * crops, data.num_frames, data.image_size, data.image_size, 3)
        pixels, label, position = np.zeros(shape, np.uint8), -1, -1
    else:
        activity, view = videos[number]
        times = sampling.spaced_clips(activity.views[view], data.num_frames, data.stride, clips)
        decoded = _decode(records[activity.position], view, times.ravel())
        decoded = decoded.reshape(clips, data.num_frames, *decoded.shape[1:])
        cropped = [augment.fixed_crops(clip, data.image_size, crops) for clip in decoded]
        pixels = np.concatenate(cropped)
        label, position = activity.label, activity.position
    return {
        "clips": pixels[np.newaxis],
        "label": np.array([label], np.int32),
        "activity": np.array([position], np.int32),
        "valid": np.array([number < len(videos)]),
    }


def _decode(
    record: Record, view: str, times: Int[np.ndarray, " T"]
) -> UInt8[np.ndarray, "T h w 3"]:
    try:
        return decode_frames(record.views[view], times)
    except ValueError as error:
        raise InputError(
            f"view {view} of activity {record.id} cannot be decoded ({error}); delete the data set "
            "and build it again"
        ) from error


def _draw_crops(data: ConfigDict, rng: np.random.Generator) -> list[augment.CropDraw]:
    """A crop for each view: one draw for each, or the same for all."""
    num_draws = data.num_views if data.crops == "independent" else 1
    draws = [augment.draw_crop(rng, data.crop_scales, data.flip) for _ in range(num_draws)]
    return draws * (data.num_views // num_draws)


def _running_index(number: int, repeats: int) -> Int[np.ndarray, " R"]:
    return np.arange(number * repeats, (number + 1) * repeats, dtype=np.int32)


def _training_batches(
    config: ConfigDict,
    items: Sequence[Item],
    make_sample: Callable[[int, Item], Batch],
    start_step: int,
    process_index: int,
    process_count: int,
) -> Batches:
    """The endless sequence of samples, epoch after epoch, from `start_step` on."""
    if config.data.crops not in ("independent", "shared"):
        raise InputError(f"data.crops is {config.data.crops!r}; it is independent or shared")
    share = _share(config.batch_size, process_count)
    samples = training_order(config, items).map_with_index(make_sample)
    first = start_step * config.batch_size + process_index
    return _batches(config, samples[first::process_count], share)


def _batches(config: ConfigDict, samples: grain.MapDataset[Batch], batch_size: int) -> Batches:
    """Makes samples in threads, or in worker processes with threads, and batches them in order.

    Samples are made ahead for one batch, so that the next is ready when the step is done. They
    are batched after the workers: neither memory nor the time to the first batch grows with the
    number of threads, and the order does not depend on the number of workers.
    """
    workers, threads = config.data.workers, config.data.threads
    ahead = max(threads, math.ceil(batch_size / max(1, workers)))
    read_options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
    dataset = samples.to_iter_dataset(read_options)
    tune_process()
    if workers > 0:
        if not flags.FLAGS.is_parsed():  # outside of absl's `app.run`; Grain asks for its flags
            flags.FLAGS.mark_as_parsed()
        options = grain.multiprocessing.MultiprocessingOptions(
            num_workers=workers, per_worker_buffer_size=2
        )
        dataset = dataset.mp_prefetch(options, worker_init_fn=tune_process)
    return Batches(dataset.batch(batch_size, drop_remainder=True, batch_fn=_concatenate))


def _concatenate(samples: Sequence[Batch]) -> Batch:
    return {key: np.concatenate([sample[key] for sample in samples]) for key in samples[0]}


def tune_process(*worker: int) -> None:
    """Settings of a process that loads data.

    Records are large and short-lived: glibc would return their memory to the system and fetch it
    again for each. Crops are small: OpenCV's own threads would only contend with ours.
    """
    del worker
    cv2.setNumThreads(0)
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, 1 << 25)
        mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


def _split(config: ConfigDict, index: Index, split: str) -> list[Activity]:
    data = config.data
    return split_activities(
        index,
        data.protocol,
        split,
        test_views=data.test_views,
        test_subjects=data.test_subjects,
        validation_subjects=data.validation_subjects,
        train_fraction=data.train_fraction,
    )


def _with_enough_views(config: ConfigDict, activities: Sequence[Activity]) -> list[Activity]:
    """The activities of which a pre-training sample can be made."""
    num_views = config.data.num_views
    usable = [activity for activity in activities if len(activity.views) >= num_views]
    if not usable:
        most = max(len(activity.views) for activity in activities)
        raise InputError(
            f"data.num_views={num_views} but activities of protocol {config.data.protocol} have "
            f"at most {most} training views; set config.data.num_views={most}"
        )
    return usable


def _videos(activities: Sequence[Activity]) -> list[Video]:
    return [Video(activity, view) for activity in activities for view in sorted(activity.views)]


def _whole_batches(config: ConfigDict, samples: int) -> int:
    if config.batch_size > samples:
        raise InputError(
            f"batch_size={config.batch_size} but protocol {config.data.protocol} has only "
            f"{samples} training samples; set config.batch_size={samples} or less"
        )
    return samples // config.batch_size


def _share(batch_size: int, process_count: int) -> int:
    """Samples of a batch that each process makes."""
    if batch_size % process_count:
        raise InputError(
            f"a batch of {batch_size} cannot be shared evenly by {process_count} processes"
        )
    return batch_size // process_count
