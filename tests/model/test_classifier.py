"""The fine-tuning model beyond its equality with Hugging Face's (test_videomae.py)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs.base import get_config
from mv2mae_jax.model import build
from mv2mae_jax.model.classifier import Classifier
from mv2mae_jax.model.variants import Variant

TINY = Variant(width=32, depth=2, heads=2, decoder_width=16, decoder_heads=2)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_starts_at_uniform_predictions(dtype):
    model = Classifier(TINY, (2, 2, 2), 12, 10, dtype=dtype, rngs=nnx.Rngs(0))
    patches = jnp.array(np.random.default_rng(0).normal(size=(4, 8, 12)), jnp.float32)
    logits = jax.jit(model)(patches)
    assert logits.shape == (4, 10) and logits.dtype == jnp.float32
    assert 0 < abs(logits).max() < 1e-3


def test_blocks_are_dropped_as_the_config_says():
    config = get_config()
    config.model.drop_path = 0.5
    blocks = build.classifier(config, 5, nnx.Rngs(0)).encoder.blocks
    assert [block.rate for block in blocks] == pytest.approx(np.linspace(0, 0.5, len(blocks)))


def test_linear_maps_start_as_truncated_normal():
    model = Classifier(TINY, (2, 2, 2), 12, 10, rngs=nnx.Rngs(0))
    mlp, attention = model.encoder.blocks[0].mlp, model.encoder.blocks[1].attention
    for kernel in (mlp.up.kernel, attention.key.kernel):
        assert 0.016 < kernel[...].std() < 0.02 and abs(kernel[...]).max() <= 0.04
    assert 1.2e-5 < model.head.kernel[...].std() < 2.4e-5


def test_drop_path_in_training_only():
    model = Classifier(TINY, (2, 2, 2), 12, 10, drop_path=0.5, rngs=nnx.Rngs(0))
    patches = jnp.array(np.random.default_rng(0).normal(size=(8, 8, 12)), jnp.float32)
    keys = jax.random.split(jax.random.key(0), 8)
    assert not np.array_equal(jax.jit(model)(patches, keys=keys), jax.jit(model)(patches))
