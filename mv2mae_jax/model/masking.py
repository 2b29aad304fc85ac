"""Which tubelets are hidden: a permutation per clip, its first part visible, the rest masked.

Counts are static, so every shape is known when the step is compiled.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key

from mv2mae_jax.model.positions import Grid, num_masked


class Mask(NamedTuple):
    """Token indices of B clips; together a permutation of the N tokens of each."""

    visible: Int[Array, "B V"]
    masked: Int[Array, "B M"]


def sample_masks(keys: Key[Array, " B"], kind: str, ratio: float, grid: Grid) -> Mask:
    """Draws a mask for every clip.

    Args:
      keys: one random key a clip, so that a clip's mask does not depend on its batch.
      kind: `random` over all tokens (Table 12), or `tube`, the same places in every time step.
      ratio: rho, the share to hide.
      grid: tubelets along time, height and width.
    """
    t, h, w = grid
    masked = num_masked(kind, ratio, grid)
    if kind == "tube":
        places = jax.vmap(lambda key: jax.random.permutation(key, h * w))(keys)
        starts = jnp.arange(t)[None, :, None] * (h * w)
        hidden = starts + places[:, None, : masked // t]
        shown = starts + places[:, None, masked // t :]
        return Mask(shown.reshape(len(keys), -1), hidden.reshape(len(keys), -1))
    order = jax.vmap(lambda key: jax.random.permutation(key, t * h * w))(keys)
    return Mask(visible=order[:, masked:], masked=order[:, :masked])
