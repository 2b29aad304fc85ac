"""A round of the package's own step; `step` runs it:

python -m benchmarks.jax_step FOLDER STEPS
"""

import math
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.92")  # the device is this round's alone

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from benchmarks import rounds
from benchmarks.training import Training
from mv2mae_jax.interop.names import to_tensors
from mv2mae_jax.losses import draw_masks
from mv2mae_jax.model.build import grid_of
from mv2mae_jax.training.parameters import Parameters
from mv2mae_jax.training.step import sample_keys


def measure(folder: Path, steps: int) -> rounds.Round:
    """The round; leaves the initial weights and the masks in the folder."""
    jax.config.update("jax_compilation_cache_dir", str(folder / "jax"))
    config = rounds.read_config(folder)
    classes = rounds.num_classes(config)
    training = Training(config, classes)
    share(config, training.state.parameters, folder)
    batch = jax.block_until_ready(training.put(rounds.random_batch(config, classes=classes)))
    program: Any = None

    def step() -> jax.Array:
        nonlocal program
        program = program or training.compiled(batch)
        training.state, metrics = program(training.state, batch)
        return metrics["loss"]

    def wait() -> None:
        jax.block_until_ready(training.state)

    device = jax.devices()[0]
    losses, first, rate = rounds.timed(step, wait, steps, warm_up=1)
    memory = device.memory_stats() or {"peak_bytes_in_use": rounds.process_peak_bytes()}
    return rounds.Round(
        framework=f"mv2mae_jax, JAX {jax.__version__}",
        device=device.device_kind,
        losses=losses,
        first_step_seconds=first,
        samples_per_second=rate * config.batch_size,
        peak_bytes=memory["peak_bytes_in_use"],
        compiler_flops=program.cost_analysis()["flops"] / config.batch_size,
    )


def share(config: ConfigDict, parameters: Parameters, folder: Path) -> None:
    """Writes for PyTorch what the first step starts from, and which tubelets it hides."""
    values = {name: np.asarray(x) for name, x in parameters.items()}
    tensors = to_tensors(values, "videomae", tuple(config.model.patch_size))
    np.savez(folder / rounds.WEIGHTS, **tensors)  # type: ignore[arg-type]  # no allow_pickle
    if config.task == "finetune":
        return
    views = config.data.num_views
    keys = sample_keys(config.seed, jnp.arange(config.batch_size))
    masked = np.asarray(draw_masks(config, keys, views).masked)
    hidden = np.zeros((config.batch_size, views, math.prod(grid_of(config))), bool)
    np.put_along_axis(hidden, masked, True, axis=2)
    np.save(folder / rounds.HIDDEN, hidden)


if __name__ == "__main__":
    given = rounds.arguments(__doc__).parse_args()
    rounds.report(measure(given.folder, given.steps))
