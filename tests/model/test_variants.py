"""Sizes: parameters counted by hand and as the paper states them."""

import math

import pytest
from flax import nnx

from mv2mae_jax.model.encoder import Encoder
from mv2mae_jax.model.mv2mae import MV2MAE
from mv2mae_jax.model.variants import VARIANTS

GRID, PIXELS = (8, 8, 8), 1536


def count(make_module) -> int:
    """Parameters of a module that is never made."""
    state = nnx.state(nnx.eval_shape(make_module), nnx.Param)
    return sum(math.prod(parameter.shape) for _, parameter in nnx.to_flat_state(state))


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        # embedding 1537 D; a block 12 D^2 + 12 D: attention 4 D^2 + 3 D (no key bias),
        # MLP 8 D^2 + 5 D, two norms 4 D
        ("tiny", 1537 * 192 + 12 * (12 * 192**2 + 12 * 192)),
        ("small", 21_879_168),
        ("base", 86_225_664),
        ("large", 303_858_688),
    ],
)
def test_encoder(name, parameters):
    """Table 8's encoders; 21.9 M for ViT-S."""
    assert count(lambda: Encoder(VARIANTS[name], GRID, PIXELS, rngs=nnx.Rngs(0))) == parameters


def test_whole_model():
    """26.7 M with both decoders."""
    model = count(lambda: MV2MAE(VARIANTS["small"], GRID, PIXELS, rngs=nnx.Rngs(0)))
    assert model == 26_700_096


@pytest.mark.parametrize(
    ("name", "heads", "decoder_width", "decoder_heads"),
    [("tiny", 3, 96, 3), ("small", 6, 192, 3), ("base", 12, 384, 6), ("large", 16, 512, 8)],
)
def test_heads_and_decoders(name: str, heads: int, decoder_width: int, decoder_heads: int):
    """Tables 8, 13 and 14 for ViT-S, VideoMAE's for the others; heads are of no parameter."""
    variant = VARIANTS[name]
    found = (variant.heads, variant.decoder_width, variant.decoder_heads, variant.decoder_depth)
    assert found == (heads, decoder_width, decoder_heads, 4)
