"""A round: some steps of training alone, in a new process, so that frameworks can take turns.

What the rounds of one measurement share lies in a folder: the config, the initial weights and the
masks of the first step, which are JAX's, and the caches of compiled programs, which are empty in
the first round. Neither JAX nor PyTorch is imported here: each has a process without the other.

A batch lies on the device before the clock starts: neither a loader nor the copy from the host is
part of a step.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import SupportsFloat

import numpy as np
from ml_collections import ConfigDict

from mv2mae_jax.check import stored_config
from mv2mae_jax.command_line import Parser

CONFIG, WEIGHTS, HIDDEN = "config.json", "weights.npz", "hidden.npy"
CLASSES = 60  # in fine-tuning: those of NTU RGB+D


@dataclass(frozen=True)
class Round:
    """What a process measured.

    Attributes:
      framework: with its version.
      device: as the framework calls it.
      losses: of the first two steps, on the same batch and masks from the same weights in all
        frameworks; so the second is that of the updated parameters.
      first_step_seconds: with tracing and compilation.
      samples_per_second: pairs, or clips of fine-tuning, of the steps after some to warm up.
      peak_bytes: most memory in use: the GPU's, or on a CPU the process's, compilation included.
      compiler_flops: of a sample, as XLA counts them in its program; None where nobody counts.
    """

    framework: str
    device: str
    losses: list[float]
    first_step_seconds: float
    samples_per_second: float
    peak_bytes: int
    compiler_flops: float | None = None


def begin(folder: Path, config: ConfigDict) -> None:
    """Puts the config of the coming rounds into their folder."""
    (folder / CONFIG).write_text(config.to_json(), encoding="utf-8")


def run(folder: Path, steps: int, module: str, *options: str) -> Round | None:
    """A round in a new process; None if there is not enough memory for it.

    Args:
      folder: of `begin`; JAX's rounds come first.
      steps: to measure.
      module: `jax_step` or `torch_step`.
      options: of the module.
    """
    words = [sys.executable, "-m", f"benchmarks.{module}", str(folder), str(steps), *options]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode == -9 or "out of memory" in done.stderr.lower():
        return None
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}:\n{done.stderr}")
    return Round(**json.loads(done.stdout.splitlines()[-1]))


def read_config(folder: Path) -> ConfigDict:
    """What `begin` wrote, in the process of a round."""
    return stored_config(json.loads((folder / CONFIG).read_text(encoding="utf-8")))


def timed(
    step: Callable[[], SupportsFloat], wait: Callable[[], object], steps: int, *, warm_up: int
) -> tuple[list[float], float, float]:
    """Runs a step often.

    Args:
      step: starts one and returns its loss.
      wait: for all steps that were started.
      steps: to measure.
      warm_up: steps between the first one and those, at least one.

    Returns:
      The losses of the first two steps, the seconds of the first, and steps a second.
    """
    started = time.perf_counter()
    loss = step()
    wait()
    first = time.perf_counter() - started
    losses = [float(loss)] + [float(step()) for _ in range(warm_up)]
    wait()
    started = time.perf_counter()
    for _ in range(steps):
        step()
    wait()
    return losses[:2], first, steps / (time.perf_counter() - started)


def num_classes(config: ConfigDict) -> int:
    """Of a round; 0: it pre-trains."""
    return CLASSES if config.task == "finetune" else 0


def random_batch(config: ConfigDict, number: int = 0, classes: int = 0) -> dict[str, np.ndarray]:
    """Noise in the shape of a config's batch: neither rate nor sameness depend on what is seen.

    Args:
      config: of the batch.
      number: counts the batches.
      classes: of the labels, of clips of one view; 0: views without labels.
    """
    data, size = config.data, config.batch_size * config.data.repeats
    views = () if classes else (data.num_views,)
    shape = (size, *views, data.num_frames, data.image_size, data.image_size, 3)
    clips = np.random.default_rng(number).integers(0, 256, shape, np.uint8)
    index = np.arange(number * size, (number + 1) * size, dtype=np.int32)
    return {"clips": clips, "index": index} | ({"label": index % classes} if classes else {})


def process_peak_bytes() -> int:
    """Most memory that this process has had."""
    status = Path("/proc/self/status").read_text()  # getrusage counts the parent before exec too
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def arguments(description: str | None) -> Parser:
    """What every module of a round takes from `run`."""
    parser = Parser(description=description)
    parser.add_argument("folder", type=Path)
    parser.add_argument("steps", type=int)
    return parser


def report(measured: Round) -> None:
    """Prints it for `run`."""
    print(json.dumps(asdict(measured)))
