"""The benchmark compares like with like."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from ml_collections import ConfigDict

from benchmarks import step as benchmark
from benchmarks import torch_reference
from configs.base import get_config
from mv2mae_jax.interop.names import to_tensors
from mv2mae_jax.interop.pytorch import build
from mv2mae_jax.model.build import grid_of, pretraining_model
from mv2mae_jax.tasks.pretrain import draw_masks, pretraining_loss
from mv2mae_jax.training.parameters import split


@pytest.fixture(scope="module")
def config() -> ConfigDict:
    config = get_config()
    config.model.variant = "mini"
    config.model.dtype = "float32"
    config.data.num_frames, config.data.image_size = 4, 64
    config.batch_size = 2
    return config


@pytest.fixture(scope="module")
def batch(config) -> dict[str, jax.Array]:
    """Two moments of random brightness, so that some tubelets move more than others."""
    clips = benchmark.random_clips(config)
    clips[:, :, 2:, :32] //= 3
    return {"clips": jnp.array(clips), "index": jnp.arange(2)}


@pytest.fixture(scope="module")
def model(config):
    """Definition and parameters, all of them random."""
    definition, parameters = split(pretraining_model(config, nnx.Rngs(0)))
    random = np.random.default_rng(0)
    return definition, {
        name: value + jnp.float32(0.05 * random.normal(size=value.shape))
        for name, value in parameters.items()
    }


def test_reference_has_the_same_loss_and_gradients(config, model, batch):
    """Both views, both decoders, motion weights: all of Eq. 3."""
    definition, parameters = model
    keys = jax.random.split(jax.random.key(0), 2)

    @jax.jit
    def loss_and_gradients(parameters):
        return jax.value_and_grad(
            lambda p: pretraining_loss(config, definition.bind(p), batch, keys)[0]
        )(parameters)

    loss, grads = loss_and_gradients(parameters)

    patch_size = tuple(config.model.patch_size)
    reference = build(config, to_tensors(parameters, "videomae", patch_size))
    hidden = np.zeros((2, 2, math.prod(grid_of(config))), bool)
    np.put_along_axis(hidden, np.asarray(draw_masks(config, keys, 2).masked), True, axis=2)
    clips = torch.from_numpy(np.array(batch["clips"]))
    its_loss = torch_reference.pretraining_loss(config, reference, clips, torch.from_numpy(hidden))
    its_loss.backward()

    assert abs(loss - its_loss.item()) < 1e-5 * loss
    theirs = {name: x.grad.numpy() for name, x in reference.named_parameters()}
    for name, expected in to_tensors(grads, "videomae", patch_size).items():
        error = np.abs(theirs.pop(name) - expected).max()
        assert error <= 2e-5 * np.abs(expected).max(), name
    assert not theirs


def test_reference_masks_a_fixed_number():
    hidden = torch_reference.random_masks(3, (8, 8, 8), 0.7, torch.device("cpu"))
    assert (hidden.sum(-1) == 358).all() and not torch.equal(hidden[0], hidden[1])


def test_measures_both(config):
    report = benchmark.measure(config, rounds=2, steps=1)
    printed = benchmark.table(report)
    for rate in report["frameworks"]:
        assert len(rate["pairs_per_second"]) == 2 and min(rate["pairs_per_second"]) > 0
        assert rate["peak_memory_mib"] > 100
        assert rate["framework"] in printed
    json.dumps(report)  # holds nothing that JSON does not know
