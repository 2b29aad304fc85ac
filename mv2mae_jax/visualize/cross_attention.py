"""Where the cross-view decoder looks: one masked tubelet of the target, all of the sources."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float, Int, UInt8
from ml_collections import ConfigDict

from mv2mae_jax.errors import InputError
from mv2mae_jax.model import build
from mv2mae_jax.model.positions import Grid
from mv2mae_jax.tasks.pretrain import token_weights
from mv2mae_jax.training.parameters import Parameters, split
from mv2mae_jax.visualize.reconstruct import masked_inputs

RED = (1.0, 0.1, 0.1)


class AttentionMaps(NamedTuple):
    """Of one query a sample, the masked tubelet of the target (view 0) that moves most."""

    query: Int[np.ndarray, " B"]  # its token index
    sources: Float[np.ndarray, "B S N"]  # over each source view's tokens; hidden ones have 0


def cross_attention_maps(
    config: ConfigDict, parameters: Parameters, clips: UInt8[np.ndarray, "B V T H W C"]
) -> AttentionMaps:
    """Attention of the queries to the source views, mean over blocks and heads (Figure 5).

    Raises:
      InputError: the run has no cross-view decoder.
    """
    definition, _ = split(build.pretraining_model(config, nnx.Rngs(0)))
    patches, mask = masked_inputs(config, clips)
    model = definition.bind(parameters)
    if not model.has_cross_view:
        raise InputError("a run without cross-view decoder has no attention between views to show")
    batch, views, tokens, _ = patches.shape
    target = build.normalized(config, jnp.asarray(clips[:, 0]))
    masked = mask.masked[:, 0]
    weights = jnp.take_along_axis(token_weights(config, target, masked), masked, axis=1)
    place = weights.argmax(axis=1)  # among the masked tokens
    attention = jax.jit(model.cross_attention)(patches, mask)[:, 0].mean(axis=(1, 2))
    num_visible = mask.visible.shape[-1]
    rows = np.arange(batch)
    looks = np.asarray(attention)[rows, num_visible + place].reshape(batch, views - 1, num_visible)
    sources = np.zeros((batch, views - 1, tokens), np.float32)
    np.put_along_axis(sources, np.asarray(mask.visible[:, 1:]), looks, axis=-1)
    return AttentionMaps(np.asarray(masked[rows, place]), sources)


def mark_tubelet(
    frames: Float[np.ndarray, "T H W C"], token: int, patch_size: tuple[int, int, int], grid: Grid
) -> Float[np.ndarray, "T H W C"]:
    """The frames with a red square around one tubelet."""
    marked = frames.copy()
    t, h, w = np.unravel_index(token, grid)
    p0, p1, p2 = patch_size
    square = marked[t * p0 : (t + 1) * p0, h * p1 : (h + 1) * p1, w * p2 : (w + 1) * p2]
    for edge in (square[:, 0], square[:, -1], square[:, :, 0], square[:, :, -1]):
        edge[:] = RED
    return marked
