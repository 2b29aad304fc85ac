"""The formulas count every product of the programs that train, forward and backward."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from ml_collections import ConfigDict

from benchmarks.flops import finetuning_flops, pretraining_flops
from benchmarks.rounds import random_batch
from configs.base import get_config
from mv2mae_jax.cost.program import products
from mv2mae_jax.losses import classification_loss, pretraining_loss
from mv2mae_jax.model import build
from mv2mae_jax.training.optimizer import trainable_parameters
from mv2mae_jax.training.parameters import split
from mv2mae_jax.training.step import Loss

SAMPLES, CLASSES = 2, 5


def products_of_gradients(
    config: ConfigDict, loss: Loss, make_model: Callable[[nnx.Rngs], nnx.Module], classes: int = 0
) -> int:
    """Operations of all matrix products in the program of the gradients of a batch."""
    batch = {k: jnp.array(v) for k, v in random_batch(config, classes=classes).items()}

    def gradients(key):
        definition, parameters = split(make_model(nnx.Rngs(key)))

        def loss_of(training):
            keys = jax.random.split(key, SAMPLES)
            return loss(config, definition.bind(parameters | training), batch, keys)[0]

        blocks = config.finetune.trainable_blocks
        return jax.grad(loss_of)(trainable_parameters(parameters, blocks))

    return products(jax.make_jaxpr(gradients)(jax.random.key(0)).jaxpr)


@pytest.fixture
def config() -> ConfigDict:
    """Of a grid of 2 x 4 x 4 tubelets."""
    config = get_config()
    config.model.variant = "mini"
    config.batch_size = SAMPLES
    config.data.num_frames, config.data.image_size = 4, 64
    return config


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"data.num_views": 4, "model.projector": "separate", "model.variant": "tiny"},
        {"data.num_views": 1, "masking.kind": "tube", "masking.ratio": 0.9},
        {"objective.cross_view": 0.0, "model.projector": "separate"},
    ],
    ids=lambda choices: "-".join(choices),
)
def test_pretraining(config: ConfigDict, choices: dict[str, object]):
    config.update_from_flattened_dict(choices)
    model = partial(build.pretraining_model, config)
    counted = products_of_gradients(config, pretraining_loss, model)
    assert counted == SAMPLES * pretraining_flops(config)


@pytest.mark.parametrize("trainable_blocks", [-1, 0, 2, 4])
def test_finetuning(config: ConfigDict, trainable_blocks: int):
    config.finetune.trainable_blocks = trainable_blocks
    model = partial(build.classifier, config, CLASSES)
    counted = products_of_gradients(config, classification_loss, model, CLASSES)
    assert counted == SAMPLES * finetuning_flops(config, CLASSES)


def test_the_paper_s_setting():
    """As the configs state it."""
    config = get_config()
    assert round(pretraining_flops(config) / 1e9, 1) == 78.4
    assert round(finetuning_flops(config, classes=60) / 1e9) == 81
    config.data.num_views = 4
    assert round(pretraining_flops(config) / 1e9) == 165
