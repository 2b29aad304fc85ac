"""Run by test_scheduled_probe.py in a process of its own: one probe of the initial parameters.

Arguments: data directory, fsdp, file to write.
"""

import json
import sys
from functools import partial
from pathlib import Path

import numpy as np

from configs.mannequin import get_config
from mv2mae_jax.evaluation.features import FrozenEncoder
from mv2mae_jax.evaluation.scheduled_probe import scheduled_probe
from mv2mae_jax.learner import learner_of
from mv2mae_jax.training.optimizer import learning_rate, update_rule
from mv2mae_jax.training.sharding import make_mesh, on_first_device
from mv2mae_jax.training.step import create_state


def probe_of_initial_parameters(data_dir: str, fsdp: int) -> dict:
    """Accuracies, features of one clip, and the number of parts that a large kernel is held in."""
    config = get_config()
    config.data.data_dir = data_dir
    config.data.image_size, config.data.num_frames = 16, 4
    config.model.patch_size = (2, 8, 8)
    config.probe.train_videos, config.probe.test_videos = 24, 12
    mesh = make_mesh(fsdp)
    make_optimizer = partial(update_rule, config, learning_rate(config, 1))
    _, state = create_state(learner_of(config), make_optimizer, config.seed, mesh)
    results = scheduled_probe(config, mesh)(state.parameters)
    del results["probe_seconds"]
    frozen = FrozenEncoder(config, on_first_device(state.parameters, mesh))
    clips = np.random.default_rng(0).integers(0, 256, (1, 4, 16, 16, 3)).astype(np.uint8)
    results["features"] = frozen.encode(clips)[0].tolist()
    kernel = state.parameters["encoder.blocks.0.mlp.up.kernel"]
    results["parts"] = kernel.size // kernel.addressable_data(0).size
    return results


if __name__ == "__main__":
    results = probe_of_initial_parameters(sys.argv[1], int(sys.argv[2]))
    Path(sys.argv[3]).write_text(json.dumps(results))
