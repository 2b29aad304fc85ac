"""How fast videos are tested, and how much of that is making them ready for the device.

python -m benchmarks.evaluation [--variant tiny] [--dtype float32] [--json FILE]
python -m benchmarks.evaluation --data-dir DIR --dataset ntu --protocol ntu60_xsub

A view is one crop of one clip. The loader decodes the frames of all clips of a video once and
leaves the crops to the device. In the other way, which is usual, the views of a video are samples
of their own: each decodes its clip, scales it, and cuts its crop, in as many threads. The whole is
`predict`: the loader, and the classifier on all views; what its first call compiles, later ones
find in a cache. Without a data set one is made: moving textures of 100 frames, 144 pixels high in
the records.
"""

import argparse
import csv
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import jax
import numpy as np
from flax import nnx
from jaxtyping import UInt8
from ml_collections import ConfigDict

from benchmarks import common
from benchmarks.videos import write_video
from mv2mae_jax.command_line import Parser
from mv2mae_jax.data import augment, loader, sampling, splits
from mv2mae_jax.data.decode import decode_frames
from mv2mae_jax.data.records import RecordSource, load_index
from mv2mae_jax.data.samples import Video
from mv2mae_jax.evaluation.crops import crop_places
from mv2mae_jax.evaluation.predictions import predict
from mv2mae_jax.model import build
from mv2mae_jax.model.variants import VARIANTS
from mv2mae_jax.training.parameters import split
from tfds_builders.manifest_data.manifest_data_dataset_builder import Builder

VIEWS = ((1, 1), (5, 1), (5, 10))  # clips and crops
SPLIT = "train"  # protocol `all` has no other, and others are as large


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints; returns the exit code."""
    return common.run(_arguments(argv), _make_data_set, measure, _print)


def measure(arguments: argparse.Namespace) -> common.Report:
    """Everything, as the JSON file has it.

    Raises:
      InputError: the data set cannot be used.
    """
    machine = common.machine()
    config = common.config(arguments)
    config.evaluation.batch_size = arguments.batch_size
    config.model.variant, config.model.dtype = arguments.variant, arguments.dtype
    config.data.num_frames, config.data.image_size = arguments.frames, arguments.image_size
    seconds: dict[str, list[float]] = {}
    for _ in range(arguments.rounds):
        for clips, crops in VIEWS:
            views = f"{clips} x {crops}"
            whole = _loader(config, clips, crops, arguments.videos)
            seconds.setdefault(views, []).append(whole)
            alone = _views_alone(config, clips, crops, arguments.videos)
            seconds.setdefault(f"{views}, each view alone", []).append(alone)
    clips, crops = VIEWS[-1]
    views = f"{clips} x {crops}, whole"
    with tempfile.TemporaryDirectory() as cache:
        jax.config.update("jax_compilation_cache_dir", cache)
        seconds[f"{views}, compiling"] = [_whole(config, clips, crops, arguments.videos)]
        seconds[views] = [
            _whole(config, clips, crops, arguments.videos) for _ in range(arguments.rounds)
        ]
        jax.config.update("jax_compilation_cache_dir", None)
    index = load_index(config.data.data_dir, config.data.dataset)
    return {
        "machine": machine,
        "data": f"{arguments.videos} videos of {arguments.dataset}, short side of the records "
        f"{index.short_side}; clips of {config.data.num_frames} frames, crops of "
        f"{config.data.image_size} pixels, {arguments.threads} threads; ViT {arguments.variant}, "
        f"{arguments.dtype}, on {jax.devices()[0].device_kind}",
        "seconds_per_video": {name: common.spread(measured) for name, measured in seconds.items()},
    }


def view_alone(
    config: ConfigDict,
    records: RecordSource,
    video: Video,
    view: int,
    clips: int,
    crops: int,
) -> UInt8[np.ndarray, "T size size 3"]:
    """View number `view` of a video, from its record to the crop."""
    data, size = config.data, config.data.image_size
    length = video.activity.views[video.view]
    times = sampling.spaced_clips(length, data.num_frames, data.stride, clips)[view // crops]
    jpegs = records.frames(video.activity.position, video.view, times)
    frames = decode_frames(jpegs, times)
    frames = augment.fit_for_crops(frames, size, crops)
    height, width = frames.shape[1:3]
    top, left, mirrored = crop_places(height, width, size, crops)[view % crops]
    cut = frames[:, top : top + size, left : left + size]
    return np.stack([cv2.flip(frame, 1) for frame in cut]) if mirrored else cut


def _loader(config: ConfigDict, clips: int, crops: int, at_least: int) -> float:
    """Seconds for a video of the loader, its start included, over whole batches."""
    start, videos = time.perf_counter(), 0
    with loader.evaluation_batches(config, SPLIT, clips, crops) as batches:
        for batch in batches:
            videos += batch["valid"].sum()
            if videos >= at_least:
                break
        return (time.perf_counter() - start) / videos


def _views_alone(config: ConfigDict, clips: int, crops: int, count: int) -> float:
    """Seconds for all views of a video, each made by itself."""
    records = RecordSource(load_index(config.data.data_dir, config.data.dataset))
    videos = splits.split_videos(config, SPLIT)[:count]
    start = time.perf_counter()
    with ThreadPoolExecutor(config.data.threads) as threads:
        for video in videos:
            make = partial(view_alone, config, records, video, clips=clips, crops=crops)
            np.stack(list(threads.map(make, range(clips * crops))))
    return (time.perf_counter() - start) / len(videos)


def _whole(config: ConfigDict, clips: int, crops: int, about: int) -> float:
    """Seconds for a video of `predict`, over about so many."""
    config = config.copy_and_resolve_references()
    config.data.evaluate_on = SPLIT
    config.data.train_fraction = min(1.0, about / len(splits.split_videos(config, SPLIT)))
    _, parameters = split(build.classifier(config, splits.num_classes(config), nnx.Rngs(0)))
    start = time.perf_counter()
    predictions = predict(config, parameters, clips=clips, crops=crops)
    return (time.perf_counter() - start) / len(predictions.videos)


def _make_data_set(folder: Path, arguments: argparse.Namespace) -> None:
    """Writes videos of moving textures, builds their records, and points the arguments there."""
    arguments.data_dir = folder / "data"
    rng = np.random.default_rng(0)
    with (folder / "videos.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["activity", "view", "path", "label"])
        for video in range(arguments.videos):
            path = folder / f"{video}.avi"
            options = {"b": "4000000"}
            write_video(path, rng, height=288, frames=100, codec="mpeg4", options=options)
            rows.writerow([f"activity {video}", "1", path.name, "moving"])
    Builder(
        manifest_csv=folder / "videos.csv", name=arguments.dataset, data_dir=arguments.data_dir
    ).build()


def _print(report: common.Report) -> None:
    print(common.machine_line(report["machine"]))
    print(report["data"])
    heads = ["clips x crops", "ms a video", "least", "most", "videos/s"]
    common.print_times(report["seconds_per_video"], heads)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--variant", choices=VARIANTS, default="tiny")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--data-dir", type=Path, help="of a built data set; default: make one")
    parser.add_argument("--dataset", default="textures", help="its name")
    parser.add_argument("--protocol", default="all", help="whose training split is measured")
    parser.add_argument("--videos", type=int, default=16, help="in each measurement")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each")
    parser.add_argument("--json", type=Path, help="write the measurements there too")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
