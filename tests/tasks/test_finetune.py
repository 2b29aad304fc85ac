"""What fine-tuning starts from."""

from pathlib import Path

import numpy as np
from flax import nnx

from configs.mannequin import get_config
from mv2mae_jax.data import loader
from mv2mae_jax.evaluation.features import FrozenEncoder
from mv2mae_jax.model import build
from mv2mae_jax.tasks.finetune import STANDARDIZED_CLIPS, standardizing_norm
from mv2mae_jax.training.parameters import split


def test_pooled_features_start_at_mean_0_and_variance_1(mannequin_dir: Path) -> None:
    config = get_config("finetune")
    config.data.data_dir = str(mannequin_dir)
    config.batch_size = 24  # not a divisor of the 256 clips
    _, parameters = split(build.pretraining_model(config, nnx.Rngs(0)))
    encoder = {name: x for name, x in parameters.items() if name.startswith("encoder.")}
    norm = standardizing_norm(config, encoder)
    frozen = FrozenEncoder(config, encoder | norm)
    with loader.finetuning_batches(config) as batches:
        pooled = [frozen.encode(next(batches)["clips"]) for _ in range(11)]
    features = np.concatenate(pooled)[:STANDARDIZED_CLIPS]
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(features.std(axis=0), 1, atol=1e-3)
