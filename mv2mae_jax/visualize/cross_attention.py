"""Where the cross-view decoder looks: one masked tubelet of the target, all of the sources."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jaxtyping import Array, Float, Int, UInt8
from ml_collections import ConfigDict

from mv2mae_jax.errors import InputError
from mv2mae_jax.losses import token_weights
from mv2mae_jax.model import build
from mv2mae_jax.model.grid import Grid, PatchSize
from mv2mae_jax.model.masking import Mask
from mv2mae_jax.model.mv2mae import MV2MAE
from mv2mae_jax.training.parameters import Definition, Parameters
from mv2mae_jax.visualize.pretrained import pretraining_definition
from mv2mae_jax.visualize.reconstruct import masked_inputs

RED = (1.0, 0.1, 0.1)


class AttentionMaps(NamedTuple):
    """Of one query a sample, a masked tubelet of the target (view 0); hidden source tokens have 0.

    Attributes:
      query: its token index.
      sources: attention to each source view's tokens, mean over blocks and heads.
      heads: the same of every block and head.
    """

    query: Int[np.ndarray, " B"]
    sources: Float[np.ndarray, "B S N"]
    heads: Float[np.ndarray, "B S blocks heads N"]


def cross_attention_maps(
    config: ConfigDict,
    parameters: Parameters,
    clips: UInt8[np.ndarray, "B V T H W C"],
    query: tuple[int, int, int] | None = None,
) -> AttentionMaps:
    """Attention of the queries to the source views (Figure 5).

    Args:
      config: of the run.
      parameters: of its model.
      clips: of V views; view 0 is the target.
      query: place (time, height, width) of the tubelet, from 0; None: in each sample, the masked
        tubelet that moves most.

    Raises:
      InputError: the run has no cross-view decoder; the query is no tubelet, or is visible.
    """
    patches, mask = masked_inputs(config, clips)
    batch, views, tokens, _ = patches.shape
    masked = np.asarray(mask.masked[:, 0])
    if query is None:
        places = _moving_most(config, clips[:, 0], mask.masked[:, 0])
    else:
        places = _find(query, build.grid_of(config), masked)
    looks = _attention(pretraining_definition(config), parameters, patches, mask, places)
    looks = rearrange(np.asarray(looks, np.float32), "b l h (s k) -> b s l h k", s=views - 1)
    heads = np.zeros((*looks.shape[:-1], tokens), np.float32)
    visible = np.asarray(mask.visible)[:, 1:, None, None]
    np.put_along_axis(heads, np.broadcast_to(visible, looks.shape), looks, axis=-1)
    return AttentionMaps(masked[np.arange(batch), places], heads.mean(axis=(2, 3)), heads)


@partial(jax.jit, static_argnums=0)  # kept by the definition: compiled once, however often called
def _attention(
    definition: Definition[MV2MAE],
    parameters: Parameters,
    patches: Float[Array, "B V N P"],
    mask: Mask,
    places: Int[Array, " B"],
) -> Float[Array, "B blocks heads sK"]:
    """Of one masked token of each target, given by its place among the masked ones."""
    model = definition.bind(parameters)
    if not model.has_cross_view:
        raise InputError("a run without cross-view decoder has no attention between views to show")
    maps = model.cross_attention(patches, mask)[:, 0]
    at = mask.visible.shape[-1] + places  # visible tokens come first
    return jnp.take_along_axis(maps, at[:, None, None, None, None], axis=3)[:, :, :, 0]


def _moving_most(
    config: ConfigDict, targets: UInt8[np.ndarray, "B T H W C"], masked: Int[Array, "B M"]
) -> Int[np.ndarray, " B"]:
    """Which of the masked tubelets of each target weighs most."""
    weights = token_weights(config, build.normalized(config, jnp.asarray(targets)), masked)
    return np.asarray(jnp.take_along_axis(weights, masked, axis=1).argmax(axis=1))


def _find(
    query: tuple[int, int, int], grid: Grid, masked: Int[np.ndarray, "B M"]
) -> Int[np.ndarray, " B"]:
    """Which of the masked tubelets of each target is at a place."""
    name = " ".join(map(str, query))
    if not all(0 <= place < size for place, size in zip(query, grid, strict=True)):
        raise InputError(
            f"tubelet {name} (time, height, width) is outside the clip: it has "
            f"{' x '.join(map(str, grid))} tubelets, counted from 0"
        )
    found = masked == np.ravel_multi_index(query, grid)
    if not found.any(axis=1).all():
        sample = int(found.any(axis=1).argmin())
        free = np.stack(np.unravel_index(np.sort(masked[sample])[:3], grid), axis=1)
        some = ", ".join(" ".join(map(str, place)) for place in free)
        raise InputError(
            f"tubelet {name} is visible in sample {sample + 1}; name one that is masked in every "
            f"sample shown (there: {some}, ...)"
        )
    return found.argmax(axis=1)


def mark_tubelet(
    frames: Float[np.ndarray, "T H W C"], token: int, patch_size: PatchSize, grid: Grid
) -> Float[np.ndarray, "T H W C"]:
    """The frames with a red square around one tubelet."""
    marked = frames.copy()
    t, h, w = np.unravel_index(token, grid)
    p0, p1, p2 = patch_size
    square = marked[t * p0 : (t + 1) * p0, h * p1 : (h + 1) * p1, w * p2 : (w + 1) * p2]
    for edge in (square[:, 0], square[:, -1], square[:, :, 0], square[:, :, -1]):
        edge[:] = RED
    return marked
