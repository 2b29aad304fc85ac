"""How fast pre-training samples are made: stage by stage, whole, and beside plain video decoding.

python -m benchmarks.loader [--json FILE]
python -m benchmarks.loader --data-dir DIR --dataset ntu --protocol ntu60_xsub --raw-dir DIR

Without a data set it makes one like NTU RGB+D: 1080p, MPEG-4, three views of 84 frames, photographs
in motion, whose small JPEGs are as large as those of real footage. A pair is what one crop of an
activity gives: two views of 16 frames. What is measured takes turns, round after round:

- the stages of a batch in one thread on one core, with one crop and with two of what is decoded;
- reading once more, after the system was told to forget the records;
- the whole loader on one core, and on all with threads and with worker processes;
- handing over: what the main process has to do for a pair that a worker process made;
- with the source videos, a plain loader: the same pairs by PyAV (seek, decode, shrink), in as many
  threads, cropped alike.
"""

import argparse
import csv
import os
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import av
import grain
import numpy as np
from grain.sources import ArrayRecordDataSource
from jaxtyping import Int, UInt8
from ml_collections import ConfigDict

from benchmarks import common
from benchmarks.videos import write_natural_video
from mv2mae_jax.command_line import Parser
from mv2mae_jax.data import loader
from mv2mae_jax.data.decode import decode_frames
from mv2mae_jax.data.process import tune_process
from mv2mae_jax.data.protocols import split_activities
from mv2mae_jax.data.records import Activity, Index, load_index, parse_record, shards
from mv2mae_jax.data.samples import PretrainingDraw, augmented, draw_pretraining
from tfds_builders.manifest import Row
from tfds_builders.manifest_data.layout import read_csv
from tfds_builders.manifest_data.manifest_data_dataset_builder import Builder
from tfds_builders.ntu import layout

Sample = tuple[int, Activity]  # its number and what it is of
Videos = dict[tuple[str, str], tuple[Path, Row]]  # of each activity and view
Seconds = dict[str, list[float]]  # for one pair: every measurement of each stage

WHOLE = ((0, 2), (0, 4), (1, 2), (2, 2))  # workers and threads


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints; returns the exit code."""
    return common.run(_arguments(argv), make_data_set, measure, _print)


def measure(arguments: argparse.Namespace) -> common.Report:
    """Everything, as the JSON file has it.

    Raises:
      InputError: the data set or its source videos cannot be used.
    """
    machine = common.machine()
    config = common.config(arguments)
    config.batch_size = arguments.batch_size
    index = load_index(arguments.data_dir, arguments.dataset)
    activities = [
        activity
        for activity in split_activities(index, arguments.protocol, "train")
        if len(activity.views) >= config.data.num_views
    ]
    order = loader.training_order(config, activities)
    size, rounds = config.batch_size, arguments.rounds
    samples = [(number, order[number]) for number in range(rounds * size)]
    videos = None if arguments.raw_dir is None else _source_videos(arguments, index)
    source = ArrayRecordDataSource([str(path) for path in shards(index.folder)])
    seconds: Seconds = defaultdict(list)
    read: dict[str, list[int]] = defaultdict(list)
    tune_process()
    for turn in range(rounds):
        batch = samples[turn * size : (turn + 1) * size]
        for repeats in (1, 2):
            config.data.repeats = repeats
            with _on_one_core():
                _stages(config, index, source, order, batch, seconds, read)
                pair, _ = _whole(config, 0, 1, arguments.seconds)
            seconds[f"whole, one core, 1 thread{_per_decode(config)}"].append(pair)
        config.data.repeats = 1
        for workers, threads in WHOLE:
            name = f"whole, {workers or 'no'} workers, {threads} threads"
            pair, in_main = _whole(config, workers, threads, arguments.seconds)
            seconds[name].append(pair)
            if workers == 1:
                seconds["hand over, main process of a worker"].append(in_main)
        if videos is not None:
            plain = _plain(config, index, videos, batch)
            seconds[f"PyAV from the source, {arguments.threads} threads"].append(plain)
    return {
        "machine": machine,
        "data": f"{len(activities)} activities of {arguments.dataset}, short side of the records "
        f"{index.short_side}; pairs of {config.data.num_frames} frames of "
        f"{config.data.image_size} pixels, {config.batch_size} a batch",
        "mean_pixel_difference_to_pyav": None
        if videos is None
        else _difference(config, index, videos, samples),
        "bytes": {name: statistics.fmean(values) for name, values in read.items()},
        "seconds_per_pair": {name: common.spread(measured) for name, measured in seconds.items()},
    }


def _stages(
    config: ConfigDict,
    index: Index,
    source: ArrayRecordDataSource,
    order: grain.MapDataset[Activity],
    batch: Sequence[Sample],
    seconds: Seconds,
    read: dict[str, list[int]],
) -> None:
    """Each stage of one batch alone, in this thread."""

    @contextmanager
    def timed(stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        pair = (time.perf_counter() - start) / (config.batch_size * config.data.repeats)
        seconds[f"{stage}{_per_decode(config)}"].append(pair)

    with timed("order"):
        for number, _ in batch:
            order[number]
    with timed("draw"):
        draws = [_draw(config, sample) for sample in batch]
    numbers = [
        index.record_number(activity.position, view, int(phase))
        for draw, (_, activity) in zip(draws, batch, strict=True)
        for view in draw.views
        for phase in np.unique(draw.times % index.phases)
    ]
    if config.data.repeats == 1:
        _forget(index)
        with timed("cold read"):
            raw = [source[number] for number in numbers]
    with timed("read"):
        raw = [source[number] for number in numbers]
    with timed("parse"):
        records = [parse_record(serialized) for serialized in raw]
    jpegs = {
        (record.id, record.view, record.first + place * record.step): jpeg
        for record in records
        for place, jpeg in enumerate(record.frames)
    }
    decoded = []
    with timed("decode"):
        for draw, (_, activity) in zip(draws, batch, strict=True):
            for view in draw.views:
                frames = {int(time): jpegs[activity.id, view, int(time)] for time in draw.times}
                decoded.append(decode_frames(frames, draw.times))
                read["used_per_pair"].append(len(draw.views) * sum(map(len, frames.values())))
                read["per_frame"] += map(len, frames.values())
    read["read_per_pair"].append(sum(map(len, raw)) // len(batch))
    clips = [iter(decoded)] * config.data.num_views
    with timed("crop"):
        pairs = [_crop(config, pair, draw) for *pair, draw in zip(*clips, draws, strict=True)]
    with timed("batch"):
        np.concatenate(pairs)


def _per_decode(config: ConfigDict) -> str:
    return "" if config.data.repeats == 1 else f"; {config.data.repeats} crops of what is decoded"


@contextmanager
def _on_one_core() -> Iterator[None]:
    """What this thread does, and the threads that it starts, shares one core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    yield
    os.sched_setaffinity(0, cores)


def _forget(index: Index) -> None:
    """Asks the system to drop the records from its memory, as if they had never been read."""
    for path in shards(index.folder):
        with Path(path).open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _plain(config: ConfigDict, index: Index, videos: Videos, batch: Sequence[Sample]) -> float:
    """Seconds for a pair of a batch of the same samples from the source videos."""
    with ThreadPoolExecutor(config.data.threads) as threads:
        start = time.perf_counter()
        pairs = threads.map(lambda s: _pair_from_source(config, index, videos, s), batch)
        np.concatenate(list(pairs))
        return (time.perf_counter() - start) / len(batch)


def _whole(config: ConfigDict, workers: int, threads: int, at_least: float) -> tuple[float, float]:
    """Seconds for a pair of the running loader, and those of this process's processor time."""
    config = config.copy_and_resolve_references()
    config.data.workers, config.data.threads = workers, threads
    return common.loader_seconds(config, loader.pretraining_batches, at_least)


def _difference(
    config: ConfigDict, index: Index, videos: Videos, samples: Sequence[Sample]
) -> float:
    """Mean absolute difference between the pairs of both loaders, in levels of 0 to 255."""
    with loader.pretraining_batches(config) as batches:
        ours = next(batches)["clips"]
    batch = samples[: config.batch_size]
    plain = np.concatenate([_pair_from_source(config, index, videos, s) for s in batch])
    return float(np.abs(ours.astype(np.int16) - plain).mean())


def _pair_from_source(
    config: ConfigDict, index: Index, videos: Videos, sample: Sample
) -> UInt8[np.ndarray, "1 V T H W 3"]:
    """A sample as the loader makes it, from the source videos."""
    draw = _draw(config, sample)
    clips = []
    for view in draw.views:
        path, row = videos[sample[1].id, view]
        clips.append(_decode_video(path, row.first + draw.times, index.short_side))
    return _crop(config, clips, draw)


def _decode_video(
    path: Path, times: Int[np.ndarray, " T"], short_side: int
) -> UInt8[np.ndarray, "T H W 3"]:
    """The frames at `times` of a video of constant frame rate, made as small as the stored ones."""
    wanted: dict[int, UInt8[np.ndarray, "H W 3"]] = {}
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1  # the pairs of a batch are in threads already
        assert stream.time_base is not None and stream.average_rate is not None
        frame_length = 1 / (stream.average_rate * stream.time_base)
        begin = stream.start_time or 0
        container.seek(begin + int(int(times[0]) * frame_length), stream=stream)
        for frame in container.decode(stream):
            assert frame.pts is not None
            number = round((frame.pts - begin) / frame_length)
            if number in times:
                scale = min(1.0, short_side / min(frame.width, frame.height))
                size = round(frame.width * scale), round(frame.height * scale)
                image = frame.reformat(*size, format="rgb24", interpolation="AREA")
                wanted[number] = image.to_ndarray()
            if number >= times[-1]:
                break
    return np.stack([wanted[int(time)] for time in times])


def _draw(config: ConfigDict, sample: Sample) -> PretrainingDraw:
    return draw_pretraining(config.data, config.seed, *sample)


def _crop(
    config: ConfigDict, clips: Sequence[UInt8[np.ndarray, "T _ _ 3"]], draw: PretrainingDraw
) -> UInt8[np.ndarray, "R V T H W 3"]:
    size = config.data.image_size
    shape = (config.data.repeats, len(clips), config.data.num_frames, size, size, 3)
    pairs = np.empty(shape, np.uint8)
    for pair, augmentations in zip(pairs, draw.augmentations, strict=True):
        for out, clip, augmentation in zip(pair, clips, augmentations, strict=True):
            augmented(clip, augmentation, out)
    return pairs


def _source_videos(arguments: argparse.Namespace, index: Index) -> Videos:
    if arguments.manifest is None:
        rows = layout.read(arguments.raw_dir, classes=index.classes).rows
    else:
        rows = read_csv(arguments.manifest, arguments.raw_dir).rows
    return {(row.activity, row.view): (arguments.raw_dir / row.path, row) for row in rows}


def make_data_set(folder: Path, arguments: argparse.Namespace) -> None:
    """Writes videos of photographs in motion, builds records, and points the arguments there.

    32 activities of 84 frames, which are cut from the same videos: together they are larger than a
    processor's caches.
    """
    raw, arguments.data_dir = folder / "raw", folder / "data"
    raw.mkdir()
    arguments.raw_dir, arguments.manifest = raw, raw / "videos.csv"
    with arguments.manifest.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["activity", "view", "path", "label", "first", "last"])
        for view in range(3):
            path = raw / f"{view}.avi"
            write_natural_video(path, view, height=1080, frames=180)
            for number in range(32):
                first = 3 * number
                rows.writerow([f"{number}", view, path.name, "moving", first, first + 83])
    Builder(
        manifest_csv=arguments.manifest, name=arguments.dataset, data_dir=folder / "data"
    ).build()


def _print(report: common.Report) -> None:
    print(common.machine_line(report["machine"]))
    print(report["data"])
    sizes = report["bytes"]
    print(
        f"{sizes['per_frame'] / 1e3:.1f} kB a frame; of a pair "
        f"{sizes['used_per_pair'] / 1e3:.0f} kB are used and "
        f"{sizes['read_per_pair'] / 1e3:.0f} kB read"
    )
    heads = ["", "ms a pair", "least", "most", "pairs/s"]
    common.print_times(report["seconds_per_pair"], heads)
    if report["mean_pixel_difference_to_pyav"] is not None:
        print(
            "pairs of both loaders differ by "
            f"{report['mean_pixel_difference_to_pyav']:.1f} of 255 levels on average"
        )


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, help="of a built data set; default: make one")
    parser.add_argument("--dataset", default="natural", help="its name")
    parser.add_argument("--protocol", default="all", help="whose training split is measured")
    parser.add_argument("--raw-dir", type=Path, help="its source videos, to compare with PyAV")
    parser.add_argument("--manifest", type=Path, help="its CSV, if it is not named as NTU's")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--threads", type=int, default=4, help="of the plain loader")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each")
    parser.add_argument("--seconds", type=float, default=1.5, help="of each of the whole loader")
    parser.add_argument("--json", type=Path, help="write the measurements there too")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
