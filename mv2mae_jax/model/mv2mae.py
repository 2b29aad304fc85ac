"""The pre-training model: a shared encoder, a self-view and a cross-view decoder (Figure 1)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from mv2mae_jax.model.decoders import CrossViewDecoder, SelfViewDecoder
from mv2mae_jax.model.encoder import Encoder
from mv2mae_jax.model.layers import LayerNorm, linear
from mv2mae_jax.model.masking import Mask
from mv2mae_jax.model.positions import Grid, position_table
from mv2mae_jax.model.variants import Variant
from mv2mae_jax.objective import gather_tokens


class Reconstruction(NamedTuple):
    """Predicted pixels of every view's masked tubelets, in the order of its mask."""

    self_view: Float[Array, "B V M P"]
    cross_view: Float[Array, "B V M P"] | None  # from all other views; None with a single view


class MV2MAE(nnx.Module):
    """Multi-view video masked autoencoder.

    Every one of the V views of an activity is a target in its turn, and all the others are its
    sources: with two views these are the four terms of Eq. 3.
    """

    def __init__(
        self,
        variant: Variant,
        grid: Grid,
        pixels: int,
        *,
        positions: str = "flattened",
        dtype: DTypeLike = jnp.float32,
        remat: bool = False,
        rngs: nnx.Rngs,
    ):
        """Args as of `Encoder`."""
        self.positions = positions
        self.grid = grid
        self.decoder_width = variant.decoder_width
        self.encoder = Encoder(
            variant, grid, pixels, positions=positions, dtype=dtype, remat=remat, rngs=rngs
        )
        self.encoder_norm = LayerNorm(variant.width, rngs=rngs)
        self.projector = linear(variant.width, variant.decoder_width, use_bias=False, rngs=rngs)
        # Shared by both decoders, as Table 12 lists it with the encoder.
        self.mask_token = nnx.Param(mask_token_init(rngs.params(), (variant.decoder_width,)))
        self.self_view_decoder = SelfViewDecoder(variant, pixels, remat=remat, rngs=rngs)
        self.cross_view_decoder = CrossViewDecoder(variant, pixels, remat=remat, rngs=rngs)

    def __call__(self, patches: Float[Array, "B V N P"], mask: Mask) -> Reconstruction:
        """Reconstructs the masked tubelets of every view.

        Args:
          patches: all tubelets of V synchronised views, ImageNet-normalised.
          mask: indices [B V visible] and [B V masked].
        """
        batch, views, _, _ = patches.shape
        patches, mask = jax.tree.map(merge_views, (patches, mask))
        tokens, num_visible = self.tokens(patches, mask), mask.visible.shape[1]
        self_view = self.self_view_decoder(tokens, num_visible)
        if views == 1:
            return Reconstruction(self_view[:, None], None)
        memory = self.memory(tokens[:, :num_visible], views)
        cross_view = self.cross_view_decoder(tokens, memory, num_visible)
        return Reconstruction(
            rearrange(self_view, "(b v) m p -> b v m p", b=batch),
            rearrange(cross_view, "(b v) m p -> b v m p", b=batch),
        )

    def tokens(self, patches: Float[Array, "B N P"], mask: Mask) -> Float[Array, "B N D"]:
        """What the decoders read: encoded visible tokens, then mask tokens, with positions."""
        visible = self.encoder(gather_tokens(patches, mask.visible), mask.visible)
        visible = self.projector(self.encoder_norm(visible))
        table = jnp.asarray(position_table(self.positions, self.grid, self.decoder_width))
        table = table.astype(visible.dtype)
        hidden = self.mask_token[...].astype(visible.dtype) + table[mask.masked]
        return jnp.concatenate([visible + table[mask.visible], hidden], axis=1)

    def memory(self, visible: Float[Array, "BV K D"], views: int) -> Float[Array, "BV sK D"]:
        """For every view, the visible tokens of all other views, one view after the other."""
        visible = rearrange(visible, "(b v) k d -> b v k d", v=views)
        # Row v lists the views other than v.
        others = jnp.array([[u for u in range(views) if u != v] for v in range(views)])
        return rearrange(visible[:, others], "b v s k d -> (b v) (s k) d")


def merge_views(x: Array) -> Array:
    """[B V ...] to [(B V) ...]."""
    return x.reshape(-1, *x.shape[2:])


def mask_token_init(key: Array, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Truncated normal with std 0.02, cut at one std on either side."""
    return 0.02 * jax.random.truncated_normal(key, -1.0, 1.0, shape)
