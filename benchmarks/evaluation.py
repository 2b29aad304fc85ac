"""How fast videos are tested, and how much of that is making them ready for the device.

python -m benchmarks.evaluation [--variant tiny] [--dtype float32] [--json FILE]
python -m benchmarks.evaluation --data-dir DIR --dataset ntu --protocol ntu60_xsub

A view is one crop of one clip. The loader decodes the frames of all clips of a video once and
leaves the crops to the device, which cuts them here, without a model; the host's part ends where
the frames are on the device. In the other way, which is usual, the views of a video are samples of
their own: each decodes its clip, scales it, and cuts its crop, in as many threads, and a batch of
them goes to the device. Both are open and warm before the clock starts. The whole is `Predictor`:
the loader, and the classifier on all views; its first call compiles. The data set is that of
`benchmarks.loader`.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path

import cv2
import jax
import numpy as np
from flax import nnx
from jaxtyping import UInt8
from ml_collections import ConfigDict

from benchmarks import common
from benchmarks.loader import make_data_set
from mv2mae_jax.command_line import Parser
from mv2mae_jax.data import augment, loader, sampling, splits
from mv2mae_jax.data.decode import decode_frames
from mv2mae_jax.data.records import RecordSource, load_index
from mv2mae_jax.data.samples import Video
from mv2mae_jax.errors import InputError
from mv2mae_jax.evaluation.crops import crop_places, over_crops
from mv2mae_jax.evaluation.predictions import Predictor
from mv2mae_jax.model import build
from mv2mae_jax.model.variants import VARIANTS
from mv2mae_jax.training.parameters import split

VIEWS = ((1, 1), (5, 1), (5, 10))  # clips and crops
BATCH_SIZE = 8  # videos
SPLIT = "train"  # protocol `all` has no other, and others are as large


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints; returns the exit code."""
    return common.run(_arguments(argv), make_data_set, measure, _print)


def measure(arguments: argparse.Namespace) -> common.Report:
    """Everything, as the JSON file has it.

    Raises:
      InputError: the data set cannot be used.
    """
    machine = common.machine()
    config = common.config(arguments)
    config.evaluation.batch_size = BATCH_SIZE
    config.model.variant, config.model.dtype = arguments.variant, arguments.dtype
    config.data.num_frames, config.data.image_size = arguments.frames, arguments.image_size
    index = load_index(config.data.data_dir, config.data.dataset)
    there = len(splits.split_videos(config, SPLIT))
    needed = arguments.videos + 3 * BATCH_SIZE  # batches that warm up, and one made ahead
    if there < needed:
        raise InputError(f"{there} videos are for training, {needed} are needed; lower --videos")
    seconds: dict[str, list[float]] = {}
    for _ in range(arguments.rounds):
        for clips, crops in VIEWS:
            views = f"{clips} x {crops}"
            cut = jax.jit(partial(over_crops, lambda x: x, size=arguments.image_size, crops=crops))
            for name, on_device in ((views, cut), (f"{views}, the host's part", lambda x: x)):
                ours = _ours(config, clips, crops, arguments.videos, on_device)
                seconds.setdefault(name, []).append(ours)
            alone = _views_alone(config, clips, crops, arguments.videos)
            seconds.setdefault(f"{views}, each view alone", []).append(alone)
    clips, crops = VIEWS[-1]
    views = f"{clips} x {crops}, whole"
    first, *later = whole(config, clips, crops, arguments.videos, calls=1 + arguments.rounds)
    seconds |= {f"{views}, compiling": [first], views: later}
    return {
        "machine": machine,
        "device": jax.devices()[0].device_kind,
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


def _ours(
    config: ConfigDict,
    clips: int,
    crops: int,
    count: int,
    on_device: Callable[[jax.Array], jax.Array],
) -> float:
    """Seconds for all views of a video, by the loader and the device, over whole batches."""
    with loader.evaluation_batches(config, SPLIT, clips, crops) as batches:
        ready = (
            jax.block_until_ready(on_device(jax.device_put(batch["clips"]))) for batch in batches
        )
        return _seconds_per_video(config, ready, count)


def _views_alone(config: ConfigDict, clips: int, crops: int, count: int) -> float:
    """Seconds for all views of a video, each made by itself, over whole batches."""
    records = RecordSource(load_index(config.data.data_dir, config.data.dataset))
    videos = splits.split_videos(config, SPLIT)

    def make(place: tuple[Video, int]) -> UInt8[np.ndarray, "T size size 3"]:
        return view_alone(config, records, *place, clips, crops)

    with ThreadPoolExecutor(config.data.threads) as threads:
        ready = (
            jax.block_until_ready(jax.device_put(np.stack(list(threads.map(make, places)))))
            for places in _batches(videos, clips * crops, config.evaluation.batch_size)
        )
        return _seconds_per_video(config, ready, count)


def _batches(videos: Sequence[Video], views: int, size: int) -> Iterator[list[tuple[Video, int]]]:
    """The numbers of all views of so many videos at a time."""
    for start in range(0, len(videos), size):
        yield list(product(videos[start : start + size], range(views)))


def _seconds_per_video(config: ConfigDict, ready: Iterator[jax.Array], count: int) -> float:
    """Of the batches after the first two: these compile, and use up what was made meanwhile."""
    batches = math.ceil(count / config.evaluation.batch_size)
    for _ in range(2):
        next(ready)
    start = time.perf_counter()
    for _ in range(batches):
        next(ready)
    return (time.perf_counter() - start) / (batches * config.evaluation.batch_size)


def whole(config: ConfigDict, clips: int, crops: int, about: int, calls: int) -> list[float]:
    """Seconds for a video of each call of a `Predictor`, over about so many; the first compiles."""
    config = config.copy_and_resolve_references()
    config.data.evaluate_on = SPLIT
    config.data.train_fraction = min(1.0, about / len(splits.split_videos(config, SPLIT)))
    num_classes = len(splits.class_names(config))
    _, parameters = split(build.classifier(config, num_classes, nnx.Rngs(0)))
    predictor = Predictor(config, num_classes, clips=clips, crops=crops)

    def seconds_per_video() -> float:
        start = time.perf_counter()
        predictions = predictor(parameters)
        return (time.perf_counter() - start) / len(predictions.videos)

    return [seconds_per_video() for _ in range(calls)]


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
    parser.add_argument("--dataset", default="natural", help="its name")
    parser.add_argument("--protocol", default="all", help="whose training split is measured")
    parser.add_argument("--videos", type=int, default=16, help="in each measurement")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each")
    parser.add_argument("--json", type=Path, help="write the measurements there too")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
