"""Steps of training alone, in a process of its own: the package's, or PyTorch's.

The batch lies on the device before the clock starts, so that neither a loader nor the copy from the
host is part of a step. All frameworks start from the same weights, and their first step sees the
same batch under the same masks: its loss says whether they compute the same.
"""

import itertools
import math
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from benchmarks import common
from benchmarks.training import Training
from mv2mae_jax.data.loader import Batch
from mv2mae_jax.interop.names import to_tensors
from mv2mae_jax.model.build import grid_of
from mv2mae_jax.tasks.pretrain import draw_masks
from mv2mae_jax.training.parameters import Parameters
from mv2mae_jax.training.step import sample_keys

CLASSES = 60  # of NTU RGB+D
WEIGHTS, HIDDEN = "weights.npz", "hidden.npy"


class Timed(NamedTuple):
    """Of a step, in this order: the loss of the first, its seconds, and the rate of later ones."""

    first_loss: float
    first_step_seconds: float  # with tracing and compilation
    steps_per_second: float


@dataclass(frozen=True)
class Round:
    """What a process measured.

    Attributes:
      framework: with its version.
      device: as the framework calls it.
      timed: the steps.
      peak_bytes: most memory in use, of the GPU's; on a CPU of the process, compilation included.
      compiler_flops: of a step, as XLA counts them in its program; None where nobody counts.
    """

    framework: str
    device: str
    timed: Timed
    peak_bytes: int
    compiler_flops: float | None = None


def in_own_process(
    measure: Callable[[ConfigDict, Path, int], Round], config: ConfigDict, folder: Path, steps: int
) -> Round | None:
    """A round in a new process; None if there is not enough memory for it.

    Args:
      measure: `jax_round`, or `torch_round` with its other arguments.
      config: whose step is measured, of the task that it names.
      folder: what the rounds share: weights, masks, and caches of compiled programs.
      steps: to measure.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as process:
        try:
            return process.submit(measure, config, folder, steps).result()
        except BrokenProcessPool:  # killed: the system has no more
            return None
        except RuntimeError as error:  # of either framework's allocator
            if "out of memory" not in str(error).lower():
                raise
            return None


def jax_round(config: ConfigDict, folder: Path, steps: int) -> Round:
    """The package's own step; leaves its initial weights and its masks in the folder."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.92")  # no other process is there
    jax.config.update("jax_compilation_cache_dir", str(folder / "jax"))
    training = Training(config, CLASSES if config.task == "finetune" else 0)
    _share(config, training.state.parameters, folder)
    batch = jax.block_until_ready(training.put(random_batch(config)))
    program: Any = None

    def step() -> Any:
        nonlocal program
        program = program or training.compiled(batch)
        training.state, metrics = program(training.state, batch)
        return metrics["loss"]

    device = jax.devices()[0]
    timed = _timed(step, lambda: jax.block_until_ready(training.state), device.platform, steps)
    memory = device.memory_stats() or {"peak_bytes_in_use": common.peak_memory()}
    return Round(
        framework=f"mv2mae_jax, JAX {jax.__version__}",
        device=device.device_kind,
        timed=timed,
        peak_bytes=memory["peak_bytes_in_use"],
        compiler_flops=program.cost_analysis()["flops"],
    )


def torch_round(
    config: ConfigDict, folder: Path, steps: int, *, strong: bool, mode: str = "none"
) -> Round:
    """A step of PyTorch from what `jax_round` left.

    Args:
      config: whose step is measured.
      folder: of `jax_round`.
      steps: to measure.
      strong: whether the loss is the one made to be fast.
      mode: of `torch.compile`; none: without it.
    """
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "inductor")
    import torch

    from benchmarks.torch_reference import random_masks
    from benchmarks.torch_training import TorchTraining, has_compiler, plain_loss, strong_loss

    compiled = strong and mode != "none" and has_compiler()
    make_loss = partial(strong_loss, mode=mode if compiled else "none") if strong else plain_loss
    with np.load(folder / WEIGHTS) as tensors:
        training = TorchTraining(config, dict(tensors), make_loss)
    device = training.device
    on_gpu = device.type == "cuda"
    batch = random_batch(config)
    clips = torch.from_numpy(batch["clips"]).to(device)
    others: Iterator[torch.Tensor]
    if config.task == "finetune":
        others = itertools.repeat(torch.from_numpy(batch["label"]).long().to(device))
    else:
        draw = partial(random_masks, len(clips), grid_of(config), config.masking.ratio, device)
        given = torch.from_numpy(np.load(folder / HIDDEN)).to(device)
        others = itertools.chain([given], iter(draw, None))

    def wait() -> None:
        if on_gpu:
            torch.cuda.synchronize()

    timed = _timed(lambda: training.step(clips, next(others)), wait, device.type, steps)
    kind = "plain" if not strong else "strong" if compiled else "strong, not compiled"
    return Round(
        framework=f"PyTorch {torch.__version__}, {kind}",
        device=torch.cuda.get_device_name() if on_gpu else "cpu",
        timed=timed,
        peak_bytes=torch.cuda.max_memory_allocated() if on_gpu else common.peak_memory(),
    )


def random_batch(config: ConfigDict) -> Batch:
    """Noise, of pairs or of labelled clips: the rate does not depend on what is seen."""
    data, size = config.data, config.batch_size
    index = np.arange(size, dtype=np.int32)
    views = () if config.task == "finetune" else (data.num_views,)
    shape = (size, *views, data.num_frames, data.image_size, data.image_size, 3)
    clips = np.random.default_rng(config.seed).integers(0, 256, shape, np.uint8)
    return {"clips": clips, "index": index, "label": index % CLASSES}


def _timed(
    step: Callable[[], Any], wait: Callable[[], object], platform: str, steps: int
) -> Timed:
    """Measures a step.

    Args:
      step: starts one, and returns its loss.
      wait: for all steps that were started.
      platform: where they run.
      steps: to measure, after some to warm up.
    """
    started = time.perf_counter()
    loss = step()
    wait()
    first = time.perf_counter() - started
    first_loss = float(loss)
    for _ in range(1 if platform == "cpu" else 3):  # CUDA graphs are recorded in the second
        step()
    wait()
    started = time.perf_counter()
    for _ in range(steps):
        step()
    wait()
    return Timed(first_loss, first, steps / (time.perf_counter() - started))


def _share(config: ConfigDict, parameters: Parameters, folder: Path) -> None:
    """Writes for PyTorch what the first step starts from and which tubelets it hides."""
    values = {name: np.asarray(x) for name, x in parameters.items()}
    np.savez(folder / WEIGHTS, **to_tensors(values, "videomae", tuple(config.model.patch_size)))
    if config.task == "finetune":
        return
    views = config.data.num_views
    keys = sample_keys(config.seed, random_batch(config)["index"])
    masked = np.asarray(draw_masks(config, keys, views).masked)
    hidden = np.zeros((config.batch_size, views, math.prod(grid_of(config))), bool)
    np.put_along_axis(hidden, masked, True, axis=2)
    np.save(folder / HIDDEN, hidden)
