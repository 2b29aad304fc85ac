"""How fast samples are made: for pre-training stage by stage, whole, and beside plain video
decoding; for fine-tuning with and without RandAugment, and what each of its operations costs.

python -m benchmarks.loader [--json FILE]
python -m benchmarks.loader --data-dir DIR --dataset ntu --protocol ntu60_xsub --raw-dir DIR

Without a data set it makes one like NTU RGB+D: moving textures, 1080p, MPEG-4, 100 frames. The
plain loader takes the same pairs at the same times from the source videos with PyAV (seek, decode,
shrink), in as many threads, and crops them alike. A pair is what one activity gives: two views of
16 frames. For fine-tuning the unit is a clip of 16 frames, six of which are of one decoded video,
and what is measured is processor time, from which follows how many cores keep a device busy.
"""

import argparse
import csv
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
from grain.sources import ArrayRecordDataSource
from jaxtyping import Int, UInt8
from ml_collections import ConfigDict
from tabulate import tabulate

from benchmarks import common
from benchmarks.videos import write_video
from configs.base import set_finetuning
from mv2mae_jax.data import loader
from mv2mae_jax.data.decode import decode_frames
from mv2mae_jax.data.process import tune_process
from mv2mae_jax.data.protocols import split_activities
from mv2mae_jax.data.randaugment import OPERATIONS
from mv2mae_jax.data.records import Activity, Index, RecordSource, load_index, parse_record
from mv2mae_jax.data.samples import PretrainingDraw, augmented, draw_pretraining
from tfds_builders.manifest import Row
from tfds_builders.manifest_data.layout import read_csv
from tfds_builders.manifest_data.manifest_data_dataset_builder import Builder
from tfds_builders.ntu import layout

Sample = tuple[int, Activity]  # its number and what it is of
Videos = dict[tuple[str, str], tuple[Path, Row]]  # of each activity and view
Seconds = dict[str, list[float]]  # for one pair or clip: every measurement of each stage


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints; returns the exit code."""
    return common.run(_arguments(argv), _make_data_set, measure, _print)


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
    samples = [(number, order[number]) for number in range(arguments.rounds * config.batch_size)]
    seconds = _stages(config, index, samples)
    difference = None
    if arguments.raw_dir is not None:
        videos = _source_videos(arguments, index)
        name = f"PyAV from the source, {arguments.threads} threads"
        seconds[name] = _plain(config, index, videos, samples)
        difference = _difference(config, index, videos, samples)
    for workers in (0, 1, 2):
        config.data.workers = workers
        name = f"whole, {workers or 'no'} workers, {arguments.threads} threads"
        seconds[name] = [
            _whole(config, loader.pretraining_batches, arguments.seconds)
            for _ in range(arguments.rounds)
        ]
    clips = _finetuning(config, arguments) | _operations(config, index, samples)
    return {
        "machine": machine,
        "data": f"{len(activities)} activities of {arguments.dataset}, short side of the records "
        f"{index.short_side}; pairs of {config.data.num_frames} frames of "
        f"{config.data.image_size} pixels, {config.batch_size} a batch",
        "mean_pixel_difference_to_pyav": difference,
        "seconds_per_pair": {name: common.spread(measured) for name, measured in seconds.items()},
        "processor_seconds_per_clip": {
            name: common.spread(measured) for name, measured in clips.items()
        },
    }


def _stages(config: ConfigDict, index: Index, samples: Sequence[Sample]) -> Seconds:
    """Each stage alone in one thread, batch by batch."""
    source = ArrayRecordDataSource(sorted(map(str, index.folder.glob("*.array_record-*"))))
    seconds: Seconds = {}

    @contextmanager
    def timed(stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        pair = (time.perf_counter() - start) / config.batch_size
        seconds.setdefault(f"{stage}, 1 thread", []).append(pair)

    tune_process()
    for batch in _batches(config, samples):
        with timed("draw"):
            draws = [_draw(config, sample) for sample in batch]
        with timed("read"):
            raw = [source[activity.position] for _, activity in batch]
        with timed("parse"):
            records = [parse_record(serialized) for serialized in raw]
        with timed("decode"):
            decoded = [
                [decode_frames(record.views[view], draw.times) for view in draw.views]
                for record, draw in zip(records, draws, strict=True)
            ]
        with timed("crop"):
            pairs = [_crop(config, *pair) for pair in zip(decoded, draws, strict=True)]
        with timed("batch"):
            np.concatenate(pairs)
    return seconds


def _plain(
    config: ConfigDict, index: Index, videos: Videos, samples: Sequence[Sample]
) -> list[float]:
    """Batches of the same samples from the source videos."""
    measured = []
    with ThreadPoolExecutor(config.data.threads) as threads:
        for batch in _batches(config, samples):
            start = time.perf_counter()
            pairs = threads.map(lambda s: _pair_from_source(config, index, videos, s), batch)
            np.concatenate(list(pairs))
            measured.append((time.perf_counter() - start) / config.batch_size)
    return measured


def _finetuning(config: ConfigDict, arguments: argparse.Namespace) -> Seconds:
    """Fine-tuning's whole loader, with and without RandAugment by turns."""
    config = config.copy_and_resolve_references()
    set_finetuning(config)
    config.data.workers = 0
    labels = {0: "no RandAugment", config.data.randaug.operations: "RandAugment"}
    seconds: Seconds = {}
    for _ in range(arguments.rounds):
        for operations, label in labels.items():
            config.data.randaug.operations = operations
            clip = _whole(config, loader.finetuning_batches, arguments.seconds, time.process_time)
            seconds.setdefault(f"whole, {label}", []).append(clip)
    return seconds


def _operations(config: ConfigDict, index: Index, samples: Sequence[Sample]) -> Seconds:
    """Each operation of RandAugment at its usual magnitude, on the target views of a batch."""
    source = RecordSource(index)
    clips = []
    for sample in samples[: config.batch_size]:
        draw = _draw(config, sample)
        record = source[sample[1].position]
        clips.append(decode_frames(record.views[draw.views[0]], draw.times))
    seconds: Seconds = {}
    for name, operation in OPERATIONS.items():
        for clip in clips:
            start = time.thread_time()
            operation(clip, config.data.randaug.magnitude / 10)
            seconds.setdefault(name, []).append(time.thread_time() - start)
    return seconds


def _whole(
    config: ConfigDict,
    make_batches: Callable[[ConfigDict], loader.Batches],
    at_least: float,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Seconds for a sample of the running loader, once it is warm.

    Args:
      config: of the loader.
      make_batches: starts it.
      at_least: seconds of the measurement.
      clock: counts the seconds of the result.
    """
    with make_batches(config) as batches:
        for _ in range(3):  # workers start, and what they made ahead meanwhile is used up
            next(batches)
        samples = 0
        begin, start = time.perf_counter(), clock()
        while time.perf_counter() - begin < at_least:
            samples += len(next(batches)["index"])
        return (clock() - start) / samples


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
) -> UInt8[np.ndarray, "1 V T H W 3"]:
    (augmentations,) = draw.augmentations
    pairs = zip(clips, augmentations, strict=True)
    return np.stack([augmented(*pair, config.data.image_size) for pair in pairs])[None]


def _batches(config: ConfigDict, samples: Sequence[Sample]) -> list[Sequence[Sample]]:
    size = config.batch_size
    return [samples[start : start + size] for start in range(0, len(samples), size)]


def _source_videos(arguments: argparse.Namespace, index: Index) -> Videos:
    if arguments.manifest is None:
        rows = layout.read(arguments.raw_dir, index.classes).rows
    else:
        rows = read_csv(arguments.manifest, arguments.raw_dir).rows
    return {(row.activity, row.view): (arguments.raw_dir / row.path, row) for row in rows}


def _make_data_set(folder: Path, arguments: argparse.Namespace) -> None:
    """Writes real videos of moving textures, builds their records, and points the arguments there.

    16 activities, two views, 100 frames of 1080p.
    """
    raw, arguments.data_dir = folder / "raw", folder / "data"
    raw.mkdir()
    arguments.raw_dir, arguments.manifest = raw, raw / "videos.csv"
    rng = np.random.default_rng(0)
    with arguments.manifest.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["activity", "view", "path", "label"])
        for activity in range(16):
            for view in "12":
                path = raw / f"{activity}-{view}.avi"
                write_video(
                    path,
                    rng,
                    height=1080,
                    frames=100,
                    codec="mpeg4",
                    options={"b": "4000000"},
                )
                rows.writerow([f"activity {activity}", view, path.name, "moving"])
    Builder(
        manifest_csv=arguments.manifest, name=arguments.dataset, data_dir=folder / "data"
    ).build()


def _print(report: common.Report) -> None:
    print(common.machine_line(report["machine"]))
    print(report["data"])
    _print_table(report["seconds_per_pair"], ["", "ms a pair", "least", "most", "pairs/s"])
    headers = ["", "ms of a core a clip", "least", "most", "clips/s a core"]
    _print_table(report["processor_seconds_per_clip"], headers)
    if report["mean_pixel_difference_to_pyav"] is not None:
        print(
            "pairs of both loaders differ by "
            f"{report['mean_pixel_difference_to_pyav']:.1f} of 255 levels on average"
        )


def _print_table(rates: dict[str, dict[str, float]], headers: Sequence[str]) -> None:
    rows = [
        [name, *(1e3 * row[key] for key in ("median", "min", "max")), 1 / row["median"]]
        for name, row in rates.items()
    ]
    print(tabulate(rows, headers, floatfmt=".2f"), end="\n\n")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Rates of the loader, in all and by stage.")
    parser.add_argument("--data-dir", type=Path, help="of a built data set; default: make one")
    parser.add_argument("--dataset", default="textures", help="its name")
    parser.add_argument("--protocol", default="all", help="whose training split is measured")
    parser.add_argument("--raw-dir", type=Path, help="its source videos, to compare with PyAV")
    parser.add_argument("--manifest", type=Path, help="its CSV, if it is not named as NTU's")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each of the whole loader")
    parser.add_argument("--json", type=Path, help="write the measurements there too")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
