"""Run by test_train_step.py in a process of its own: a few steps on the devices there are.

Arguments: fsdp, accumulation, file to write. Every batch is eight samples of noise.
"""

import sys

import jax
import numpy as np

from benchmarks.rounds import random_batch
from benchmarks.training import Training
from configs.mannequin import get_config

STEPS = 3


def main(fsdp: int, accumulation: int, out: str) -> None:
    config = get_config()
    config.data.image_size, config.model.patch_size = 32, (2, 16, 16)
    config.optimizer.warmup_epochs = 0.0
    config.mesh.fsdp, config.accumulation = fsdp, accumulation
    config.batch_size = 8
    training = Training(config, devices=jax.devices())
    every = training.on(random_batch(config, number) for number in range(STEPS))
    losses = [float(metrics["loss"]) for metrics in every]
    kernel = training.state.parameters["encoder.blocks.0.mlp.up.kernel"]
    parts = len({str(shard.index) for shard in kernel.addressable_shards})
    values = jax.device_get(training.state.parameters)
    np.savez(out, losses=losses, devices=jax.device_count(), parts=parts, **values)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
