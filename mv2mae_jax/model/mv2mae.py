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
from mv2mae_jax.model.grid import Grid
from mv2mae_jax.model.layers import LayerNorm, linear
from mv2mae_jax.model.masking import Mask
from mv2mae_jax.model.positions import position_table
from mv2mae_jax.model.variants import Variant
from mv2mae_jax.objective import gather_tokens


class Reconstruction(NamedTuple):
    """Predicted pixels of every view's masked tubelets, in the order of its mask."""

    self_view: Float[Array, "B V M P"]
    cross_view: Float[Array, "B V M P"] | None  # from all other views; None without any


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
        cross_view: bool = True,
        separate_projectors: bool = False,
        positions: str = "flattened",
        dtype: DTypeLike = jnp.float32,
        remat: bool = False,
        rngs: nnx.Rngs,
    ):
        """Args: as of `Encoder`, and

        cross_view: whether there is a cross-view decoder.
        separate_projectors: whether it has a projector and a mask token of its own; Table 12
          lists them with the encoder, as shared.
        """
        self.positions = positions
        self.grid = grid
        self.decoder_width = variant.decoder_width
        self.encoder = Encoder(
            variant, grid, pixels, positions=positions, dtype=dtype, remat=remat, rngs=rngs
        )
        self.encoder_norm = LayerNorm(variant.width, rngs=rngs)
        self.projector = linear(variant.width, variant.decoder_width, use_bias=False, rngs=rngs)
        self.mask_token = mask_token(variant.decoder_width, rngs=rngs)
        self.self_view_decoder = SelfViewDecoder(variant, pixels, remat=remat, rngs=rngs)
        self.has_cross_view = cross_view
        self.separate_projectors = cross_view and separate_projectors
        if cross_view:
            self.cross_view_decoder = CrossViewDecoder(variant, pixels, remat=remat, rngs=rngs)
        if self.separate_projectors:
            self.cross_view_projector = linear(
                variant.width, variant.decoder_width, use_bias=False, rngs=rngs
            )
            self.cross_view_mask_token = mask_token(variant.decoder_width, rngs=rngs)

    def __call__(self, patches: Float[Array, "B V N P"], mask: Mask) -> Reconstruction:
        """Reconstructs the masked tubelets of every view.

        Args:
          patches: all tubelets of V synchronised views, normalised.
          mask: indices [B V visible] and [B V masked].
        """
        batch, views, _, _ = patches.shape
        mask = jax.tree.map(merge_views, mask)
        visible, num_visible = self.encode(merge_views(patches), mask), mask.visible.shape[1]
        self_tokens, cross_tokens = self.decoder_tokens(visible, mask)
        self_view = self.self_view_decoder(self_tokens, num_visible)
        self_view = rearrange(self_view, "(b v) m p -> b v m p", b=batch)
        if views == 1 or not self.has_cross_view:
            return Reconstruction(self_view, None)
        memory = self.memory(cross_tokens[:, :num_visible], views)
        cross_view = self.cross_view_decoder(cross_tokens, memory, num_visible)
        return Reconstruction(self_view, rearrange(cross_view, "(b v) m p -> b v m p", b=batch))

    def cross_attention(
        self, patches: Float[Array, "B V N P"], mask: Mask
    ) -> Float[Array, "B V blocks heads N sK"]:
        """Where every token of each view looks in the visible tokens of all other views.

        Tokens come visible first, masked last, in the order of the mask; args as of a call.
        """
        batch, views, _, _ = patches.shape
        mask = jax.tree.map(merge_views, mask)
        visible = self.encode(merge_views(patches), mask)
        _, tokens = self.decoder_tokens(visible, mask)
        memory = self.memory(tokens[:, : mask.visible.shape[1]], views)
        maps = self.cross_view_decoder.attention(tokens, memory)
        return rearrange(maps, "(b v) l h n k -> b v l h n k", b=batch)

    def predict_unseen(self, sources: Float[Array, "B S N P"], mask: Mask) -> Float[Array, "B N P"]:
        """Predicts a whole view, of which nothing is visible, from the views beside it.

        Args:
          sources: all tubelets of S synchronised views, normalised.
          mask: of the sources, indices [B S visible] and [B S masked].

        Returns:
          Predicted pixels of the unseen view's tubelets, in token order.
        """
        batch, _, num_tokens, _ = sources.shape
        mask = jax.tree.map(merge_views, mask)
        latents = self.encode(merge_views(sources), mask)
        _, tokens = self.decoder_tokens(latents, mask)
        visible = tokens[:, : mask.visible.shape[1]]
        memory = rearrange(visible, "(b s) k d -> b (s k) d", b=batch)
        # Nothing of the view has been encoded: its decoder tokens are mask tokens alone.
        order = jnp.broadcast_to(jnp.arange(num_tokens), (batch, num_tokens))
        _, hidden = self.decoder_tokens(latents[:batch, :0], Mask(order[:, :0], order))
        return self.cross_view_decoder(hidden, memory, 0)

    def encode(self, patches: Float[Array, "B N P"], mask: Mask) -> Float[Array, "B K E"]:
        """Normalised latents of the visible tokens."""
        visible = self.encoder(gather_tokens(patches, mask.visible), mask.visible)
        return self.encoder_norm(visible)

    def decoder_tokens(
        self, visible: Float[Array, "B K E"], mask: Mask
    ) -> tuple[Float[Array, "B N D"], Float[Array, "B N D"]]:
        """What the self-view and the cross-view decoder read of each view."""
        tokens = self.tokens(visible, mask, self.projector, self.mask_token)
        if not self.separate_projectors:
            return tokens, tokens
        own = self.cross_view_projector, self.cross_view_mask_token
        return tokens, self.tokens(visible, mask, *own)

    def tokens(
        self,
        visible: Float[Array, "B K E"],
        mask: Mask,
        projector: nnx.Linear,
        mask_token: nnx.Param[Array],
    ) -> Float[Array, "B N D"]:
        """What a decoder reads: projected visible tokens, then mask tokens, with positions."""
        visible = projector(visible)
        table = jnp.asarray(position_table(self.positions, self.grid, self.decoder_width))
        table = table.astype(visible.dtype)
        hidden = mask_token[...].astype(visible.dtype) + table[mask.masked]
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


def mask_token(width: int, *, rngs: nnx.Rngs) -> nnx.Param[Array]:
    """Truncated normal with std 0.02, cut at one std on either side."""
    return nnx.Param(0.02 * jax.random.truncated_normal(rngs.params(), -1.0, 1.0, (width,)))
