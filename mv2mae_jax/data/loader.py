"""Batches for pre-training, fine-tuning and evaluation.

Sample number i of a training run, and everything random in it, is a function of (seed, i) alone;
its R repeats (`data.repeats`) are numbered i R to i R + R - 1, which is their `index`.
Step s takes samples s B .. (s+1) B - 1, of which process p of n makes every n-th from the p-th on.
So a run goes on from any step without a stored position of the loader, and neither the number of
processes nor that of worker processes or threads changes a sample.

An epoch is one pass over the activities (fine-tuning: the videos) in a new order; the last
incomplete batch is dropped.
"""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice

import grain
import numpy as np
from ml_collections import ConfigDict, FrozenConfigDict

from mv2mae_jax.data.records import Activity, RecordSource, load_index
from mv2mae_jax.data.samples import (
    Item,
    Video,
    allow_damaged,
    evaluation_sample,
    evaluation_video,
    finetuning_sample,
    pretraining_sample,
    replacing_damaged,
    source_views,
    unless_damaged,
)
from mv2mae_jax.data.sampling import span, usable_views
from mv2mae_jax.data.splits import split_of, split_videos, videos_of
from mv2mae_jax.data.workers import Samples, samples_at_once
from mv2mae_jax.errors import InputError

log = logging.getLogger(__name__)

Batch = dict[str, np.ndarray]

MOST_SAMPLES = int(np.iinfo(np.int32).max)  # `index` numbers them


class Batches(Iterator[Batch]):
    """An iterator of batches; `close` it, or use it in a `with` statement, to end its workers."""

    def __init__(
        self,
        samples: Samples,
        group: Callable[[Iterator[Batch]], Iterator[Batch]],
        bad_records: int = 0,
    ) -> None:
        """Starts nothing yet: the first `next` does.

        Args:
          samples: of which batches are made.
          group: makes them.
          bad_records: how many activities may be damaged, in all.
        """
        self._samples = samples
        self._batches = group(samples)
        self._bad_records = bad_records
        self._damaged: dict[str, str] = {}

    def __next__(self) -> Batch:
        """The next batch.

        Raises:
          InputError: more activities cannot be read than may be, or workers were killed again and
            again.
        """
        batch = next(self._batches)
        for activity, reason in batch.pop("damaged", ()):
            if activity not in self._damaged:
                self._damaged[activity] = reason
                log.warning("activity %s is left out, it cannot be read: %s", activity, reason)
        allow_damaged(self._damaged, self._bad_records)
        return batch

    def counts(self) -> dict[str, int]:
        """What has gone wrong so far, and did not stop it: for the log."""
        return {
            "damaged_activities": len(self._damaged),
            "worker_restarts": self._samples.restarts,
        }

    def close(self) -> None:
        """Ends threads and worker processes; may be called again."""
        self._batches = iter(())  # samples that wait in it are in shared memory
        self._samples.close()

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
      Batches {"clips": uint8 [B*R V T H W 3], "index": int32 [B*R]}. View 0 is the target. The R
      repeats of a sample are adjacent, and `index` numbers all repeats from the start of training.

    Raises:
      InputError: the data cannot give such batches.
    """
    index = load_index(config.data.data_dir, config.data.dataset)
    activities = split_of(config, index, "train")
    usable = _with_enough_views(config, activities)
    if len(usable) < len(activities):
        log.warning(
            "%d of %d training activities have fewer than %d views%s and are not used",
            len(activities) - len(usable),
            len(activities),
            config.data.num_views,
            _permitted(config),
        )
    make_sample = partial(
        pretraining_sample, FrozenConfigDict(config.data), config.seed, RecordSource(index)
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
    videos = videos_of(split_of(config, index, "train"))
    make_sample = partial(
        finetuning_sample, FrozenConfigDict(config.data), config.seed, RecordSource(index)
    )
    return _training_batches(config, videos, make_sample, start_step, process_index, process_count)


def evaluation_batches(
    config: ConfigDict,
    split: str | Sequence[Video],
    clips: int,
    crops: int,
    process_index: int = 0,
    process_count: int = 1,
    devices: int = 1,
    bad_records: int = 0,
) -> Batches:
    """Every video of a split once, several clips of each, ready for the device to crop.

    Args:
      config: as in configs/base.py; `evaluation.batch_size` videos a batch, over all processes.
      split: train, validation or test; or the videos themselves.
      clips: temporal clips of a video, evenly spaced; a single one is central.
      crops: spatial crops that will be cut out of each clip: 1, 5 or 10.
      process_index: which of the processes this is; it makes every n-th video.
      process_count: how many processes share the videos.
      devices: of this process; its batches are rounded up so that they can be split over them.
      bad_records: how many activities may be damaged: a blank video, not valid, takes the place of
        one. Only where there is one crop.

    Returns:
      Batches {"clips": uint8 [B K T h w 3], "label": int32 [B], "video": int32 [B], "valid": bool
      [B]} with K = clips. Frames are as `augment.fit_for_crops` leaves them: for one crop it is cut
      already, h = w = `data.image_size`. `video` is the place among the videos. A batch holds
      videos of one frame size, and each size's last batch is filled up with blank videos that are
      not valid; so there is one shape for each size. Where frames have one size, videos come in
      their order.

    Raises:
      InputError: the data cannot give such batches.
    """
    index = load_index(config.data.data_dir, config.data.dataset)
    videos = split_videos(config, split) if isinstance(split, str) else split
    make_sample = partial(
        evaluation_sample, FrozenConfigDict(config.data), clips, crops, RecordSource(index)
    )
    if bad_records:
        data = config.data
        shape = (1, clips, data.num_frames, data.image_size, data.image_size, 3)
        make_sample = partial(unless_damaged, make_sample, np.zeros(shape, np.uint8))
    samples = grain.MapDataset.source(videos).map_with_index(make_sample)
    batch_size = math.ceil(config.evaluation.batch_size / (process_count * devices)) * devices
    share = Samples(config.data, samples[process_index::process_count], batch_size)
    return Batches(share, partial(_batches_of_one_size, batch_size), bad_records)


def pretraining_activities(config: ConfigDict) -> list[Activity]:
    """What pre-training samples are made of.

    Raises:
      InputError: the data set or its training split cannot be used as configured.
    """
    index = load_index(config.data.data_dir, config.data.dataset)
    return _with_enough_views(config, split_of(config, index, "train"))


def num_samples(config: ConfigDict) -> int:
    """Samples of an epoch: activities in pre-training (`config.task`), otherwise videos.

    Raises:
      InputError: the data set or its training split cannot be used as configured.
    """
    return len(_training_items(config))


def steps_per_epoch(config: ConfigDict) -> int:
    """Steps of an epoch; the last incomplete batch is dropped.

    Raises:
      InputError: there is not one whole batch in the data, or they cannot be used as configured;
        the run is too long.
    """
    steps = whole_batches(config, num_samples(config))
    total = config.epochs * steps * config.batch_size * config.data.repeats
    if total > MOST_SAMPLES:
        raise InputError(
            f"{config.epochs:,} epochs of {steps:,} steps are {total:,} samples, and a run has at "
            f"most {MOST_SAMPLES:,}; lower config.epochs"
        )
    return steps


def whole_batches(config: ConfigDict, samples: int) -> int:
    """Batches of an epoch of so many samples.

    Raises:
      InputError: there is not one.
    """
    if config.batch_size > samples:
        raise InputError(
            f"config.batch_size={config.batch_size} but protocol {config.data.protocol} has only "
            f"{samples} training samples; set config.batch_size={samples} or less"
        )
    return samples // config.batch_size


def training_order(config: ConfigDict, items: Sequence[Item]) -> grain.MapDataset[Item]:
    """What sample 0, 1, 2, … is made of: epoch after epoch, each in a new order, without end.

    Raises:
      InputError: the items do not fill one batch.
    """
    per_epoch = whole_batches(config, len(items)) * config.batch_size
    return grain.MapDataset.source(items).seed(config.seed).shuffle()[:per_epoch].repeat()


def batch_ids(config: ConfigDict, step: int) -> list[str]:
    """What the batch of a step is made of: activities; in fine-tuning `activity:view`.

    One that is damaged is named, not the one that replaces it.

    Raises:
      InputError: as for `num_samples`.
    """
    order = training_order(config, _training_items(config))
    items = (
        order[number] for number in range(step * config.batch_size, (step + 1) * config.batch_size)
    )
    return [
        f"{item.activity.id}:{item.view}" if isinstance(item, Video) else item.id for item in items
    ]


def _batches_in_order(batch_size: int, samples: Iterator[Batch]) -> Iterator[Batch]:
    while True:
        yield _concatenate(list(islice(samples, batch_size)))


def _batches_of_one_size(batch_size: int, videos: Iterator[Batch]) -> Iterator[Batch]:
    """Batches videos with others of their frame size, and fills up what is left at the end."""
    waiting: dict[tuple[int, ...], list[Batch]] = {}
    for video in videos:
        group = waiting.setdefault(video["clips"].shape, [])
        group.append(video)
        if len(group) == batch_size:
            yield _concatenate(waiting.pop(video["clips"].shape))
    for shape, group in waiting.items():
        blank = evaluation_video(np.zeros(shape, np.uint8), -1, -1)
        yield _concatenate([*group, *[blank] * (batch_size - len(group))])


def _training_batches(
    config: ConfigDict,
    items: Sequence[Item],
    make_sample: Callable[[int, Item], Batch],
    start_step: int,
    process_index: int,
    process_count: int,
) -> Batches:
    """The endless sequence of samples, epoch after epoch, from `start_step` on."""
    activities = {item.activity.id if isinstance(item, Video) else item.id for item in items}
    if config.data.bad_records >= len(activities):
        raise InputError(
            f"config.data.bad_records={config.data.bad_records} but only {len(activities)} "
            "activities are for training; set it lower"
        )
    _tell_what_is_short(config, items)
    share = _share(config.batch_size, process_count)
    make_sample = partial(
        replacing_damaged, make_sample, items, config.data.bad_records, config.seed
    )
    samples = training_order(config, items).map_with_index(make_sample)
    first = start_step * config.batch_size + process_index
    at_once, parts = samples_at_once(config.data, share), samples[first::process_count]
    if at_once > 1:  # of an endless sequence, so that nothing is dropped
        parts = parts.batch(at_once, drop_remainder=True, batch_fn=_concatenate)
    made = Samples(config.data, parts, share // at_once)
    return Batches(made, partial(_batches_in_order, share // at_once), config.data.bad_records)


def _tell_what_is_short(config: ConfigDict, items: Sequence[Item]) -> None:
    """Logs how many have too few frames for a clip: still ends of clips teach no motion."""
    needed = span(config.data.num_frames, config.data.stride)
    lengths = [
        item.activity.views[item.view] if isinstance(item, Video) else min(item.views.values())
        for item in items
    ]
    if short := sum(length < needed for length in lengths):
        log.warning(
            "%d of %d training %s have fewer than the %d frames that a clip spans; their last "
            "frame is repeated (with a lower config.data.stride a clip spans fewer)",
            short,
            len(items),
            "videos" if isinstance(items[0], Video) else "activities",
            needed,
        )


def _concatenate(samples: Sequence[Batch]) -> Batch:
    return {key: np.concatenate([sample[key] for sample in samples]) for key in samples[0]}


def _training_items(config: ConfigDict) -> Sequence[Activity | Video]:
    """What samples are made of: activities in pre-training, otherwise videos."""
    if config.task == "pretrain":
        return pretraining_activities(config)
    return split_videos(config, "train")


def _with_enough_views(config: ConfigDict, activities: Sequence[Activity]) -> list[Activity]:
    """The activities of which a pre-training sample can be made."""
    data = config.data
    known = {view for activity in activities for view in activity.views}
    if unknown := {data.target_view, *source_views(data)} - known - {""}:
        raise InputError(
            f"config.data.target_view or source_views: {', '.join(sorted(unknown))} is no training "
            f"view of protocol {data.protocol}, which has {', '.join(sorted(known))}"
        )
    counts = [
        len(usable_views(activity.views, data.target_view, source_views(data)))
        for activity in activities
    ]
    if max(counts) < data.num_views:
        raise InputError(
            f"config.data.num_views={data.num_views} but activities of protocol {data.protocol} "
            f"have at most {max(counts)} training views{_permitted(config)}; set "
            f"config.data.num_views={max(counts)}"
        )
    return [a for a, count in zip(activities, counts, strict=True) if count >= data.num_views]


def _permitted(config: ConfigDict) -> str:
    """What is added to a number of views, where not all count."""
    chosen = config.data.target_view or config.data.source_views
    return " that config.data.target_view and source_views permit" if chosen else ""


def _share(batch_size: int, process_count: int) -> int:
    """Samples of a batch that each process makes."""
    if batch_size % process_count:
        raise InputError(
            f"a batch of {batch_size} cannot be shared evenly by {process_count} processes; set "
            "config.batch_size to a multiple of their number"
        )
    return batch_size // process_count
