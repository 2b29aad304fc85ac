"""The two decoders: one sees its own view only, the other also the visible tokens of other views.

Tokens come visible first, masked last. Only masked tokens are predicted, so the last block, the
norm and the head compute nothing else; attention does not care about order, so nothing is ever
un-shuffled.
"""

from collections.abc import Callable, Sequence
from functools import partial

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from mv2mae_jax.model.layers import Attention, Block, LayerNorm, call_block, linear
from mv2mae_jax.model.variants import Variant


class SelfViewDecoder(nnx.Module):
    """Reconstructs a view from its own visible tokens (Table 13)."""

    def __init__(self, variant: Variant, pixels: int, *, remat: bool = False, rngs: nnx.Rngs):
        """Args: as of `Encoder`."""
        width, heads = variant.decoder_width, variant.decoder_heads
        self.remat = remat
        self.inline = False
        self.blocks = nnx.List(Block(width, heads, rngs=rngs) for _ in range(variant.decoder_depth))
        self.norm = LayerNorm(width, rngs=rngs)
        self.head = linear(width, pixels, rngs=rngs)

    def __call__(
        self, tokens: Float[Array, "B N D"], num_visible: int
    ) -> Float[Array, "B N-{num_visible} P"]:
        """Pixels of the masked tubelets."""
        call = partial(call_block, remat=self.remat, inline=self.inline)
        return self.head(self.norm(_masked(self.blocks, call, num_visible, tokens)))


def _masked(
    blocks: Sequence[nnx.Module],
    call: Callable[..., Array],
    num_visible: int,
    tokens: Float[Array, "B N D"],
    *memory: Float[Array, "B K D"],
) -> Float[Array, "B N-{num_visible} D"]:
    """What the blocks make of the masked tokens."""
    for block in blocks[:-1]:
        tokens = call(block, tokens, *memory)
    return call(blocks[-1], tokens, *memory, first=num_visible)


class CrossViewBlock(nnx.Module):
    """Cross-attention to the source views, then self-attention and MLP; pre-norm and residual."""

    def __init__(self, width: int, heads: int, *, rngs: nnx.Rngs):
        self.norm_query = LayerNorm(width, rngs=rngs)
        self.norm_memory = LayerNorm(width, rngs=rngs)
        self.cross_attention = Attention(width, heads, rngs=rngs)
        self.block = Block(width, heads, rngs=rngs)

    def __call__(
        self, x: Float[Array, "B N D"], memory: Float[Array, "B K D"], *, first: int = 0
    ) -> Float[Array, "B N-{first} D"]:
        """The block's output for the tokens from `first` on; all tokens look at the memory."""
        x = x + self.cross_attention(self.norm_query(x), self.norm_memory(memory))
        return self.block(x, first=first)

    def attention_to(
        self, x: Float[Array, "B N D"], memory: Float[Array, "B K D"]
    ) -> Float[Array, "B heads N K"]:
        """Where each token looks in the source views."""
        return self.cross_attention.weights(self.norm_query(x), self.norm_memory(memory))


class CrossViewDecoder(nnx.Module):
    """Reconstructs a target view with the help of the source views' visible tokens (Table 14)."""

    def __init__(self, variant: Variant, pixels: int, *, remat: bool = False, rngs: nnx.Rngs):
        """Args: as of `Encoder`."""
        width, heads = variant.decoder_width, variant.decoder_heads
        self.remat = remat
        self.inline = False
        self.blocks = nnx.List(
            CrossViewBlock(width, heads, rngs=rngs) for _ in range(variant.decoder_depth)
        )
        self.norm = LayerNorm(width, rngs=rngs)
        self.head = linear(width, pixels, rngs=rngs)

    def __call__(
        self, tokens: Float[Array, "B N D"], memory: Float[Array, "B K D"], num_visible: int
    ) -> Float[Array, "B N-{num_visible} P"]:
        """Pixels of the target's masked tubelets.

        Args:
          tokens: all tokens of the target view, visible first.
          memory: visible tokens of the source views with their positions; any number of them.
          num_visible: visible tokens of the target.
        """
        call = partial(call_block, remat=self.remat, inline=self.inline)
        return self.head(self.norm(_masked(self.blocks, call, num_visible, tokens, memory)))

    def attention(
        self, tokens: Float[Array, "B N D"], memory: Float[Array, "B K D"]
    ) -> Float[Array, "B blocks heads N K"]:
        """Where each token looks in the source views, in every block and head (Figure 5)."""
        maps = []
        for block in self.blocks:
            maps.append(block.attention_to(tokens, memory))
            tokens = block(tokens, memory)
        return jnp.stack(maps, axis=1)
