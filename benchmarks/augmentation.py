"""What fine-tuning's clips cost with and without RandAugment, and each of its operations.

python -m benchmarks.augmentation [--json FILE]
python -m benchmarks.augmentation --data-dir DIR --dataset ntu --protocol ntu60_xsub

The data set is that of `benchmarks.loader`. A clip has 16 frames, and six are of one decoded video.
What is measured is processor time, from which follows how many cores keep a device busy.
"""

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from benchmarks import common
from benchmarks.loader import make_data_set
from configs.base import set_finetuning
from mv2mae_jax.command_line import Parser
from mv2mae_jax.data import loader
from mv2mae_jax.data.decode import decode_frames
from mv2mae_jax.data.process import tune_process
from mv2mae_jax.data.randaugment import OPERATIONS
from mv2mae_jax.data.records import RecordSource, load_index

Seconds = dict[str, list[float]]


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints; returns the exit code."""
    return common.run(_arguments(argv), make_data_set, measure, _print)


def measure(arguments: argparse.Namespace) -> common.Report:
    """Everything, as the JSON file has it.

    Raises:
      InputError: the data set cannot be used.
    """
    machine = common.machine()
    tune_process()
    config = common.config(arguments)
    set_finetuning(config)
    config.batch_size = arguments.batch_size
    config.data.workers = 0
    seconds = _whole(config, arguments) | _operations(config, arguments.rounds)
    return {
        "machine": machine,
        "processor_seconds_per_clip": {
            name: common.spread(measured) for name, measured in seconds.items()
        },
    }


def _whole(config: ConfigDict, arguments: argparse.Namespace) -> Seconds:
    """The whole loader, with and without RandAugment by turns."""
    config = config.copy_and_resolve_references()
    labels = {0: "no RandAugment", config.data.randaug.operations: "RandAugment"}
    seconds: Seconds = defaultdict(list)
    for _ in range(arguments.rounds):
        for operations, label in labels.items():
            config.data.randaug.operations = operations
            _, clip = common.loader_seconds(config, loader.finetuning_batches, arguments.seconds)
            seconds[f"whole, {label}"].append(clip)
    return seconds


def _operations(config: ConfigDict, rounds: int) -> Seconds:
    """Each operation at its usual magnitude, on the first clip of some activities."""
    index = load_index(config.data.data_dir, config.data.dataset)
    source, seconds = RecordSource(index), defaultdict(list)
    for activity in index.activities[:rounds]:
        view, length = next(iter(activity.views.items()))
        times = np.arange(min(config.data.num_frames, length))
        clip = decode_frames(source.frames(activity.position, view, times), times)
        for name, operation in OPERATIONS.items():
            start = time.thread_time()
            operation(clip, config.data.randaug.magnitude / 10)
            seconds[name].append(time.thread_time() - start)
    return seconds


def _print(report: common.Report) -> None:
    print(common.machine_line(report["machine"]))
    heads = ["", "ms of a core a clip", "least", "most", "clips/s a core"]
    common.print_times(report["processor_seconds_per_clip"], heads)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, help="of a built data set; default: make one")
    parser.add_argument("--dataset", default="natural", help="its name")
    parser.add_argument("--protocol", default="all", help="whose training split is measured")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each of the whole loader")
    parser.add_argument("--json", type=Path, help="write the measurements there too")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
