"""Which tubelets are hidden: a permutation per clip, its first part masked, the rest visible.

Counts are static, so every shape is known when the step is compiled.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Int, Key

from mv2mae_jax.model.grid import MASKS, Grid, num_masked


class Mask(NamedTuple):
    """Token indices of clips; together a permutation of the K + M tokens of each."""

    visible: Int[Array, "*B K"]
    masked: Int[Array, "*B M"]


def sample_masks(keys: Key[Array, " B"], kind: str, ratio: float, grid: Grid) -> Mask:
    """Draws a mask for every clip.

    Args:
      keys: one random key a clip, so that a clip's mask does not depend on its batch.
      kind: a name in `MASKS`, which says what is hidden together.
      ratio: rho, the share to hide.
      grid: tubelets along time, height and width.
    """
    units = jnp.asarray(MASKS[kind](grid))
    hidden = num_masked(kind, ratio, grid) // units.shape[1]
    order = jax.vmap(lambda key: jax.random.permutation(key, len(units)))(keys)

    def tokens(chosen: Int[Array, "B U"]) -> Int[Array, "B K"]:
        return rearrange(units[chosen], "b u k -> b (k u)")

    return Mask(visible=tokens(order[:, hidden:]), masked=tokens(order[:, :hidden]))
