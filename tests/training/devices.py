"""Run by test_train_step.py in a process of its own: a few steps on the devices there are.

Arguments: fsdp, accumulation, file to write. The batch is eight samples, always the same.
"""

import sys
from functools import partial

import jax
import numpy as np

from configs.mannequin import get_config
from mv2mae_jax.model import build
from mv2mae_jax.tasks.pretrain import pretraining_loss
from mv2mae_jax.training.optimizer import adamw, learning_rate
from mv2mae_jax.training.sharding import make_mesh, to_devices
from mv2mae_jax.training.step import create_state, make_train_step

STEPS = 3


def main(fsdp: int, accumulation: int, out: str) -> None:
    config = get_config()
    config.data.image_size, config.model.patch_size = 32, (2, 16, 16)
    config.optimizer.warmup_epochs = 0.0
    mesh = make_mesh(fsdp)
    make_optimizer = partial(adamw, config, learning_rate(config, 1))
    make_model = partial(build.pretraining_model, config)
    definition, state = create_state(make_model, make_optimizer, config.seed, mesh)
    step = make_train_step(
        definition,
        partial(pretraining_loss, config),
        make_optimizer(state.parameters),
        seed=config.seed,
        accumulation=accumulation,
        state=state,
        mesh=mesh,
    )
    rng = np.random.default_rng(0)
    losses = []
    for number in range(STEPS):
        clips = rng.integers(0, 256, (8, 2, 8, 32, 32, 3)).astype(np.uint8)
        index = np.arange(8, dtype=np.int32) + 8 * number
        state, metrics = step(state, to_devices({"clips": clips, "index": index}, mesh))
        losses.append(float(metrics["loss"]))
    kernel = state.parameters["encoder.blocks.0.mlp.up.kernel"]
    parts = len({str(shard.index) for shard in kernel.addressable_shards})
    values = jax.device_get(state.parameters)
    np.savez(out, losses=losses, devices=jax.device_count(), parts=parts, **values)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
