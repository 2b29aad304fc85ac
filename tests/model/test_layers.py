"""What the layers promise beyond their numbers: dtypes, drop path, and skipped tokens."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from mv2mae_jax.model.decoders import CrossViewBlock
from mv2mae_jax.model.encoder import Encoder
from mv2mae_jax.model.layers import Block, LayerNorm, call_block, drop_path, gelu
from mv2mae_jax.model.variants import Variant

TINY = Variant(width=16, depth=3, heads=2, decoder_width=8, decoder_heads=2, decoder_depth=2)


def keys(count: int) -> jax.Array:
    return jax.random.split(jax.random.key(0), count)


def normal(*shape: int) -> jax.Array:
    return jnp.array(np.random.default_rng(0).normal(size=shape), jnp.float32)


def test_drop_path_keeps_the_expectation():
    kept = drop_path(jnp.ones((4000, 1, 2)), 0.3, keys(4000))
    assert set(np.unique(np.float32(kept))) == {0, np.float32(1 / 0.7)}
    assert (kept == kept[:, :1, :1]).all()  # a clip is dropped as a whole
    assert abs(kept.mean() - 1) < 5 * (0.3 / 0.7 / 4000) ** 0.5


def test_drop_path_is_off_without_keys_and_at_rate_0():
    branch = normal(3, 2, 4)
    np.testing.assert_array_equal(drop_path(branch, 0.9, None), branch)
    np.testing.assert_array_equal(drop_path(branch, 0.0, keys(3)), branch)


def test_drop_path_of_a_clip_depends_on_its_key_alone():
    branch = normal(64, 2, 4)
    together = drop_path(branch, 0.5, keys(64))
    alone = drop_path(branch[40:], 0.5, keys(64)[40:])
    np.testing.assert_array_equal(together[40:], alone)


def test_encoder_drops_more_in_later_blocks_and_only_with_keys():
    encoder = Encoder(TINY, (1, 2, 2), 12, drop_path=0.5, rngs=nnx.Rngs(0))
    plain = jax.jit(Encoder(TINY, (1, 2, 2), 12, rngs=nnx.Rngs(0)))
    assert [block.rate for block in encoder.blocks] == [0, 0.25, 0.5]
    encoder, patches = jax.jit(encoder), normal(8, 4, 12)
    np.testing.assert_array_equal(encoder(patches), plain(patches))
    together, alone = encoder(patches, keys=keys(8)), encoder(patches[5:6], keys=keys(8)[5:6])
    assert not np.allclose(together, plain(patches))
    np.testing.assert_allclose(together[5:6], alone, atol=1e-5)


def test_branches_are_dropped_independently_of_each_other():
    """With rate 1/2 in two branches all four outcomes turn up."""
    block = Block(8, 2, drop_path=0.5, rngs=nnx.Rngs(0))
    x = jnp.broadcast_to(normal(1, 3, 8), (64, 3, 8))
    outcomes = np.unique(np.round(jax.jit(block)(x, keys=keys(64))[:, 0, 0], 4))
    assert len(outcomes) == 4


def test_skipped_tokens_change_nothing():
    """`first` computes the same for the other tokens, which still look at all of them."""
    x, memory = normal(2, 7, 8), normal(2, 5, 8)
    block = Block(8, 2, rngs=nnx.Rngs(0))
    np.testing.assert_allclose(block(x, first=3), block(x)[:, 3:], atol=1e-6)
    block = CrossViewBlock(8, 2, rngs=nnx.Rngs(0))
    np.testing.assert_allclose(block(x, memory, first=3), block(x, memory)[:, 3:], atol=1e-6)


def test_norm_of_bfloat16_has_float32_statistics():
    """Values around 100 that differ by 1 keep their order; eps is far below their variance."""
    norm = LayerNorm(4, rngs=nnx.Rngs(0))
    out = norm(jnp.array([[99.0, 100, 101, 102]], jnp.bfloat16))
    assert out.dtype == jnp.bfloat16
    expected = np.array([-1.5, -0.5, 0.5, 1.5]) / 1.25**0.5
    np.testing.assert_allclose(np.float32(out[0]), expected, rtol=1e-2)


def test_initial_values_follow_videomae():
    """The embedding as PyTorch's Conv3d, query, key and value as one xavier map of 3 D outputs."""
    encoder = Encoder(TINY, (1, 2, 2), 768, rngs=nnx.Rngs(0))
    for values in (encoder.embed.kernel[...], encoder.embed.bias[...]):
        bound = 768**-0.5
        assert 0.8 * bound < abs(values).max() <= bound
    attention = encoder.blocks[0].attention
    for linear in (attention.query, attention.key, attention.value):
        bound = (6 / (16 + 3 * 16)) ** 0.5
        assert 0.9 * bound < abs(linear.kernel[...]).max() <= bound
    for linear in (attention.out, encoder.blocks[0].mlp.up):
        bound = (6 / sum(linear.kernel.shape)) ** 0.5
        assert 0.9 * bound < abs(linear.kernel[...]).max() <= bound
        assert (linear.bias[...] == 0).all()


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("bfloat16", 2e-2)])
def test_gelu_and_its_derivative_are_pytorchs(dtype: str, tolerance: float):
    x = np.linspace(-9, 9, 2001, dtype=np.float32)
    reference = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    value = torch.nn.functional.gelu(reference)
    value.sum().backward()
    ours, pullback = jax.vjp(gelu, jnp.asarray(x, dtype))
    assert ours.dtype == dtype
    (derivative,) = pullback(jnp.ones_like(ours))
    np.testing.assert_allclose(np.float32(ours), value.detach(), atol=9 * tolerance)
    np.testing.assert_allclose(np.float32(derivative), reference.grad, atol=tolerance)


@pytest.mark.parametrize("remat", [False, True])
def test_a_block_as_a_function_of_its_own_is_the_block(remat: bool):
    """The same numbers; and on a CPU, a call in the compiled program, forward and backward."""
    block = CrossViewBlock(8, 2, rngs=nnx.Rngs(0))
    graph, state = nnx.split(block)
    x, memory = normal(3, 5, 8), normal(3, 4, 8)

    def total(state: nnx.State, inline: bool) -> jax.Array:
        block = nnx.merge(graph, state)
        return (call_block(block, x, memory, remat=remat, inline=inline, first=2) ** 2).sum()

    own, within = (jax.jit(jax.value_and_grad(partial(total, inline=i))) for i in (False, True))
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), own(state), within(state)
    )
    calls = [run.lower(state).compile().as_text().count(" call(") for run in (own, within)]
    assert calls == [2, 0]
