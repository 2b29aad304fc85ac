"""The cross-view decoder against a transcription in plain PyTorch functions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from flax import nnx
from model.comparison import assert_same, assert_same_parameters

from mv2mae_jax.model.decoders import CrossViewBlock
from mv2mae_jax.model.masking import sample_masks
from mv2mae_jax.model.mv2mae import MV2MAE
from mv2mae_jax.model.variants import Variant
from mv2mae_jax.training.parameters import split

VARIANT = Variant(width=32, depth=1, heads=2, decoder_width=24, decoder_heads=3, decoder_depth=2)
GRID, PIXELS, BATCH = (2, 2, 3), 12, 2
DECODER = "cross_view_decoder"

Tensors = dict[str, torch.Tensor]


def linear(p: Tensors, name: str, x: torch.Tensor) -> torch.Tensor:
    return F.linear(x, p[f"{name}.kernel"].T, p.get(f"{name}.bias"))


def norm(p: Tensors, name: str, x: torch.Tensor) -> torch.Tensor:
    return F.layer_norm(x, x.shape[-1:], p[f"{name}.scale"], p[f"{name}.bias"], eps=1e-6)


def attention(p: Tensors, name: str, x: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
    q, k, v = (
        linear(p, f"{name}.{part}", tokens).unflatten(-1, (VARIANT.decoder_heads, -1))
        for part, tokens in (("query", x), ("key", memory), ("value", memory))
    )
    mixed = F.scaled_dot_product_attention(*(t.transpose(1, 2) for t in (q, k, v)))
    return linear(p, f"{name}.out", mixed.transpose(1, 2).flatten(2))


def cross_view_decoder(
    p: Tensors, tokens: torch.Tensor, memory: torch.Tensor, num_visible: int
) -> torch.Tensor:
    """Every block on all tokens; the masked ones are cut out at the end."""
    x = tokens
    for number in range(VARIANT.decoder_depth):
        name = f"{DECODER}.blocks.{number}"
        normed_memory = norm(p, f"{name}.norm_memory", memory)
        normed = norm(p, f"{name}.norm_query", x)
        x = x + attention(p, f"{name}.cross_attention", normed, normed_memory)
        normed = norm(p, f"{name}.block.norm1", x)
        x = x + attention(p, f"{name}.block.attention", normed, normed)
        hidden = F.gelu(linear(p, f"{name}.block.mlp.up", norm(p, f"{name}.block.norm2", x)))
        x = x + linear(p, f"{name}.block.mlp.down", hidden)
    return linear(p, f"{DECODER}.head", norm(p, f"{DECODER}.norm", x)[:, num_visible:])


@pytest.fixture(scope="module")
def model():
    """Definition and parameters; every parameter is random, so that none hides an error."""
    definition, parameters = split(MV2MAE(VARIANT, GRID, PIXELS, rngs=nnx.Rngs(0)))
    random = np.random.default_rng(0)
    noise = {name: 0.2 * random.normal(size=x.shape) for name, x in parameters.items()}
    return definition, {k: jnp.float32(v + noise[k]) for k, v in parameters.items()}


@pytest.mark.parametrize("views", [2, 3])
def test_equals_transcription(model, views):
    """Prediction and gradients, with respect to the decoder's parameters and to its tokens."""
    definition, parameters = model
    random = np.random.default_rng(views)
    patches = jnp.float32(random.normal(size=(BATCH, views, np.prod(GRID), PIXELS)))
    mask = sample_masks(jax.random.split(jax.random.key(0), BATCH * views), "random", 0.6, GRID)
    num_visible, num_masked = mask.visible.shape[1], mask.masked.shape[1]
    weights = np.float32(random.normal(size=(BATCH, views, num_masked, PIXELS)))

    @jax.jit
    def forward(parameters):
        bound = definition.bind(parameters)
        flat = patches.reshape(-1, *patches.shape[2:])
        by_view = jax.tree.map(lambda x: x.reshape(BATCH, views, -1), mask)
        visible = bound.encode(flat, mask)
        tokens = bound.tokens(visible, mask, bound.projector, bound.mask_token)
        return bound(patches, by_view).cross_view, tokens

    @jax.jit
    def our_gradients(parameters, tokens):
        def loss(parameters, tokens):
            bound = definition.bind(parameters)
            memory = bound.memory(tokens[:, :num_visible], views)
            out = bound.cross_view_decoder(tokens, memory, num_visible)
            return (rearrange(out, "(b v) m p -> b v m p", v=views) * weights).sum()

        return jax.grad(loss, argnums=(0, 1))(parameters, tokens)

    ours, tokens = forward(parameters)
    parameter_gradients, token_gradients = our_gradients(parameters, tokens)

    p = {
        name: torch.tensor(np.asarray(value), requires_grad=True)
        for name, value in parameters.items()
        if name.startswith(DECODER)
    }
    theirs_in = torch.tensor(np.asarray(tokens), requires_grad=True)
    by_view = theirs_in.unflatten(0, (BATCH, views))
    out = []
    for target in range(views):
        sources = [by_view[:, v, :num_visible] for v in range(views) if v != target]
        memory = torch.cat(sources, dim=1)
        out.append(cross_view_decoder(p, by_view[:, target], memory, num_visible))
    theirs = torch.stack(out, dim=1)
    (theirs * torch.from_numpy(weights)).sum().backward()

    assert_same(ours, theirs.detach())
    assert_same(token_gradients, theirs_in.grad)
    assert_same_parameters(parameter_gradients, {name: x.grad for name, x in p.items()})


def test_attention_maps_are_those_of_the_blocks_in_turn(model):
    """Of the whole model, against its decoder's blocks run one by one on its inputs."""
    definition, parameters = model
    bound = definition.bind(parameters)
    patches = jnp.float32(np.random.default_rng(0).normal(size=(BATCH, 3, np.prod(GRID), PIXELS)))
    mask = sample_masks(jax.random.split(jax.random.key(0), BATCH * 3), "random", 0.6, GRID)
    maps = bound.cross_attention(patches, jax.tree.map(lambda x: x.reshape(BATCH, 3, -1), mask))
    visible = bound.encode(patches.reshape(-1, *patches.shape[2:]), mask)
    _, tokens = bound.decoder_tokens(visible, mask)
    memory = bound.memory(tokens[:, : mask.visible.shape[1]], 3)
    for number, block in enumerate(bound.cross_view_decoder.blocks):
        expected = block.attention_to(tokens, memory)
        np.testing.assert_allclose(maps[1, 2, number], expected[3 + 2], rtol=1e-5, atol=1e-6)
        tokens = block(tokens, memory)


def test_attention_map_is_what_the_block_uses():
    block = CrossViewBlock(8, 2, rngs=nnx.Rngs(0))
    x, memory = (jnp.float32(np.random.default_rng(n).normal(size=(1, n, 8))) for n in (4, 6))
    weights = block.attention_to(x, memory)
    assert weights.shape == (1, 2, 4, 6)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
    value = block.cross_attention.value(block.norm_memory(memory)).reshape(1, 6, 2, 4)
    mixed = jnp.einsum("bhqk,bkhd->bqhd", weights, value).reshape(1, 4, 8)
    expected = block.cross_attention(block.norm_query(x), block.norm_memory(memory))
    np.testing.assert_allclose(block.cross_attention.out(mixed), expected, atol=1e-6)
