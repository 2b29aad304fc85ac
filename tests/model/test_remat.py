"""Activations computed twice: the same numbers, and little is kept between the two passes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from ml_collections import ConfigDict
from model.comparison import assert_same, assert_same_parameters

from configs.mannequin import get_config
from mv2mae_jax.losses import classification_loss, pretraining_loss
from mv2mae_jax.model import build
from mv2mae_jax.training.parameters import split
from mv2mae_jax.training.step import sample_keys


def loss_function(config: ConfigDict, batch: dict):
    """Parameters, and the loss as a function of them."""
    if config.task == "pretrain":
        loss, model = pretraining_loss, build.pretraining_model(config, nnx.Rngs(0))
    else:
        loss, model = classification_loss, build.classifier(config, 5, nnx.Rngs(0))
    definition, parameters = split(model)

    def loss_of(parameters):
        return loss(config, definition.bind(parameters), batch, sample_keys(0, jnp.arange(2)))[0]

    return parameters, loss_of


def bytes_kept(loss_of, parameters: dict) -> int:
    """Between forward and backward pass, beside the parameters (a compiler may add to it)."""
    residuals = jax.eval_shape(lambda parameters: jax.vjp(loss_of, parameters)[1], parameters)
    of_all, of_parameters = (
        sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))
        for tree in (residuals, parameters)
    )
    return of_all - of_parameters


@pytest.mark.parametrize("task", ["pretrain", "finetune"])
def test_same_numbers_in_less_memory(task: str):
    config = get_config(task)
    config.data.num_frames, config.data.image_size, config.model.patch_size = 4, 64, (2, 16, 16)
    config.model.drop_path = 0.5 * (task == "finetune")
    views = (2,) * (task == "pretrain")
    shape = (2, *views, 4, 64, 64, 3)
    clips = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    batch = {"clips": jnp.array(clips), "label": jnp.array([1, 3])}
    parameters, plain = loss_function(config, batch)
    config.model.remat = True
    _, remat = loss_function(config, batch)
    assert bytes_kept(remat, parameters) < 0.3 * bytes_kept(plain, parameters)
    loss, gradients = jax.jit(jax.value_and_grad(plain))(parameters)
    loss_again, gradients_again = jax.jit(jax.value_and_grad(remat))(parameters)
    assert_same(loss_again, loss, 1e-6)
    assert_same_parameters(gradients_again, gradients, 1e-4)
