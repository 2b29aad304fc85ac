"""How fast this machine pre-trains, beside a plain PyTorch version of the same step.

python -m benchmarks.step [--variant small] [--pairs 4] [--dtype float32] [--json FILE]

Both frameworks run the paper's step on the same shapes: uint8 clips of two views to the updated
parameters. Each has a process of its own; rounds of a few steps alternate between them. A pair is
one activity: two views of 16 frames.
"""

import argparse
import importlib.util
import itertools
import json
import math
import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict
from tabulate import tabulate

from benchmarks import common
from configs.base import get_config
from mv2mae_jax.cost.flops import pretraining_flops
from mv2mae_jax.errors import InputError
from mv2mae_jax.model.variants import VARIANTS

MIB = 2**20


@dataclass
class Rate:
    """One framework's measurements."""

    framework: str
    device: str
    first_step_seconds: float  # with compilation
    pairs_per_second: list[float] = field(default_factory=list)  # of every round
    peak_memory_mib: float = math.nan  # of the process on CPU, of the device elsewhere


@dataclass(frozen=True)
class Running:
    """A step ready to run."""

    framework: str
    device: str
    run: Callable[[int], None]  # this many steps, waiting for the last
    device_peak_bytes: Callable[[], int | None]  # None on CPU


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints; returns the exit code."""
    arguments = _arguments(argv)
    config = get_config()
    config.model.variant = arguments.variant
    config.model.dtype = arguments.dtype
    config.batch_size = arguments.pairs
    try:
        report = measure(config, arguments.rounds, arguments.steps)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(table(report))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


def measure(config: ConfigDict, rounds: int, steps: int) -> dict[str, Any]:
    """Everything, as the JSON file has it.

    Args:
      config: whose step is measured.
      rounds: measurements of each framework.
      steps: of a round.

    Raises:
      InputError: PyTorch is not installed.
    """
    if importlib.util.find_spec("torch") is None:
        raise InputError("PyTorch is not installed; pip install -e '.[torch]'")
    machine = common.machine()
    rates = _rates(config, rounds, steps)
    flops = pretraining_flops(config)
    return {
        "machine": machine,
        "step": {
            "variant": config.model.variant,
            "dtype": config.model.dtype,
            "pairs": config.batch_size,
            "frames": config.data.num_frames,
            "image_size": config.data.image_size,
            "flops_per_pair": flops,
        },
        "rounds": rounds,
        "steps_per_round": steps,
        "frameworks": [
            asdict(rate)
            | {
                "median_pairs_per_second": statistics.median(rate.pairs_per_second),
                "flops_per_second": flops * statistics.median(rate.pairs_per_second),
            }
            for rate in rates
        ],
    }


def table(report: dict[str, Any]) -> str:
    """A report for people."""
    step = report["step"]
    rows = [
        [
            rate["framework"],
            rate["device"],
            rate["median_pairs_per_second"],
            min(rate["pairs_per_second"]),
            max(rate["pairs_per_second"]),
            rate["flops_per_second"] / 1e9,
            rate["peak_memory_mib"],
            rate["first_step_seconds"],
        ]
        for rate in report["frameworks"]
    ]
    heads = ["", "device", "pairs/s", "least", "most", "GFLOP/s", "peak MiB", "first step, s"]
    formats = ("", "", ".2f", ".2f", ".2f", ".0f", ".0f", ".1f")
    ours, plain = (rate["median_pairs_per_second"] for rate in report["frameworks"])
    return "\n".join(
        [
            common.machine_line(report["machine"]),
            f"MV2MAE {step['variant']}, {step['dtype']}, {step['pairs']} pairs of two views of "
            f"{step['frames']} frames of {step['image_size']} pixels a step, "
            f"{step['flops_per_pair'] / 1e9:.1f} GFLOP a pair",
            tabulate(rows, heads, floatfmt=formats),
            f"{ours / plain:.2f} times as fast as plain PyTorch",
        ]
    )


def _rates(config: ConfigDict, rounds: int, steps: int) -> list[Rate]:
    """Starts a process for each framework and lets them run in turn."""
    context = multiprocessing.get_context("spawn")
    connections, processes, rates = [], [], []
    for prepare in (_jax_step, _torch_step):
        connection, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(prepare, config, theirs), daemon=True)
        process.start()
        theirs.close()
        rates.append(Rate(*connection.recv()))  # one prepares after the other
        connections.append(connection)
        processes.append(process)
    for _ in range(rounds):
        for connection, rate in zip(connections, rates, strict=True):
            connection.send(steps)
            rate.pairs_per_second.append(steps * config.batch_size / connection.recv())
    for connection, process, rate in zip(connections, processes, rates, strict=True):
        connection.send(0)
        rate.peak_memory_mib = connection.recv()
        process.join()
    return rates


def _serve(
    prepare: Callable[[ConfigDict], Running], config: ConfigDict, connection: Connection
) -> None:
    """Sends what it is, then the seconds for every number of steps asked for; 0 ends."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # another framework is here too
    running = prepare(config)
    started = time.perf_counter()
    running.run(1)
    first = time.perf_counter() - started
    running.run(1)
    connection.send((running.framework, running.device, first))
    while steps := connection.recv():
        started = time.perf_counter()
        running.run(steps)
        connection.send(time.perf_counter() - started)
    peak = running.device_peak_bytes()
    if peak is None:
        peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    connection.send(peak / MIB)


def _jax_step(config: ConfigDict) -> Running:
    """The project's own training step."""
    import jax

    from benchmarks.training import Training

    training = Training(config)
    index = np.arange(config.batch_size, dtype=np.int32)
    batch = {"clips": random_clips(config), "index": index}

    def run(steps: int) -> None:
        training.on(itertools.repeat(batch, steps))
        jax.block_until_ready(training.state)

    def peak() -> int | None:
        return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")

    device = jax.devices()[0].device_kind
    return Running(f"mv2mae_jax, JAX {jax.__version__}", device, run, peak)


def _torch_step(config: ConfigDict) -> Running:
    """The plain step."""
    import torch

    from benchmarks.torch_reference import make_step

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    on_gpu = device.type == "cuda"
    step = make_step(config, device)
    clips = torch.from_numpy(random_clips(config))

    def run(steps: int) -> None:
        for _ in range(steps):
            loss = step(clips.to(device))
        loss.item()

    def peak() -> int | None:
        return torch.cuda.max_memory_allocated() if on_gpu else None

    name = torch.cuda.get_device_name() if on_gpu else "cpu"
    return Running(f"PyTorch {torch.__version__}", name, run, peak)


def random_clips(config: ConfigDict) -> UInt8[np.ndarray, "B V T H W 3"]:
    """Noise: the rate does not depend on what is seen."""
    data = config.data
    shape = (config.batch_size, data.num_views, data.num_frames, data.image_size, data.image_size)
    return np.random.default_rng(config.seed).integers(0, 256, (*shape, 3), np.uint8)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Rate of the pre-training step, beside PyTorch's.")
    parser.add_argument("--variant", choices=VARIANTS, default="small")
    parser.add_argument("--pairs", type=int, default=4, help="activities a step")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each framework")
    parser.add_argument("--steps", type=int, default=3, help="of a round")
    parser.add_argument("--json", type=Path, help="write the measurements there too")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
