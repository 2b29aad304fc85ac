"""The encoder: a plain ViT with joint space-time attention over the tubelets it is given."""

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Key

from mv2mae_jax.model.grid import Grid
from mv2mae_jax.model.layers import (
    Block,
    call_block,
    fold_in,
    linear,
    torch_conv_init,
    xavier,
)
from mv2mae_jax.model.positions import position_table
from mv2mae_jax.model.variants import Variant


class Encoder(nnx.Module):
    """Embeds tubelets and their places, and lets them attend to each other (Table 12).

    It has no final norm: what follows the last block belongs to the model that uses it
    (a norm and the projector in pre-training, pooling and a fresh norm in classification).
    """

    def __init__(
        self,
        variant: Variant,
        grid: Grid,
        pixels: int,
        *,
        positions: str = "flattened",
        drop_path: float = 0.0,
        dtype: DTypeLike = jnp.float32,
        remat: bool = False,
        kernel_init: nnx.Initializer = xavier,
        rngs: nnx.Rngs,
    ):
        """Args:
        variant: sizes.
        grid: tubelets along time, height and width.
        pixels: P, values of a tubelet.
        positions: `flattened` or `separable`.
        drop_path: rate at the last block, growing linearly from 0 at the first.
        dtype: of the activations.
        remat: whether the backward pass computes the activations of a block again.
        kernel_init: of the blocks' linear maps.
        rngs: randomness of the initial values.
        """
        self.positions = positions
        self.grid = grid
        self.width = variant.width
        self.dtype = dtype
        self.remat = remat
        self.inline = False
        conv_init = torch_conv_init(pixels)
        self.embed = linear(
            pixels, variant.width, kernel_init=conv_init, bias_init=conv_init, rngs=rngs
        )
        self.blocks = nnx.List(
            Block(
                variant.width,
                variant.heads,
                drop_path=float(rate),
                kernel_init=kernel_init,
                rngs=rngs,
            )
            for rate in np.linspace(0, drop_path, variant.depth)
        )

    def __call__(
        self,
        patches: Float[Array, "B K P"],
        places: Int[Array, "B K"] | None = None,
        *,
        keys: Key[Array, " B"] | None = None,
    ) -> Float[Array, "B K D"]:
        """Encodes the tubelets `patches`, which stand at the token indices `places`.

        Args:
          patches: normalised pixels of the visible tubelets only.
          places: their token indices; None: all tokens, in order.
          keys: one a clip, for drop path in training.
        """
        table = jnp.asarray(position_table(self.positions, self.grid, self.width))
        x = self.embed(patches.astype(self.dtype))
        x = x + (table if places is None else table[places]).astype(self.dtype)
        for number, block in enumerate(self.blocks):
            block_keys = fold_in(keys, number)
            x = call_block(block, x, remat=self.remat, inline=self.inline, keys=block_keys)
        return x
