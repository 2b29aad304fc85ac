"""Reconstructions as pixels, with nothing in them that the model could not know."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import nnx
from jaxtyping import Array, Float, Int, UInt8
from ml_collections import ConfigDict

from mv2mae_jax.errors import InputError
from mv2mae_jax.model import build
from mv2mae_jax.model.masking import Mask
from mv2mae_jax.model.mv2mae import merge_views
from mv2mae_jax.model.positions import Grid
from mv2mae_jax.objective import gather_tokens, patchify, unpatchify
from mv2mae_jax.tasks.pretrain import draw_masks
from mv2mae_jax.training.parameters import Parameters, split
from mv2mae_jax.training.step import sample_keys

HIDDEN = 0.5  # grey of masked tubelets


class Pictures(NamedTuple):
    """Clips in [0, 1]; visible tubelets of the reconstructions are those of the input."""

    input: Float[np.ndarray, "B V T H W C"]
    masked: Float[np.ndarray, "B V T H W C"]
    self_view: Float[np.ndarray, "B V T H W C"]
    cross_view: Float[np.ndarray, "B V T H W C"]


def reconstruct(
    config: ConfigDict, parameters: Parameters, clips: UInt8[np.ndarray, "B V T H W C"]
) -> Pictures:
    """Masks two or more views as in training, and fills what is masked from both decoders.

    Normalised predictions become pixels with the statistics of the visible tubelets around them
    (`surrounding_statistics`), never with those of the hidden ones, which would show through.
    """
    definition, _ = split(build.pretraining_model(config, nnx.Rngs(0)))
    model = definition.bind(parameters)
    batch, views = clips.shape[:2]
    patch_size, grid = tuple(config.model.patch_size), build.grid_of(config)
    inputs, mask = masked_inputs(config, clips)
    self_view, cross_view = model(inputs, mask)
    if cross_view is None:
        raise InputError("a run without cross-view decoder has no reconstruction by it to show")

    pixels = patchify(merge_views(jnp.asarray(clips) / 255.0), patch_size)
    visible, masked = merge_views(mask.visible), merge_views(mask.masked)
    rows = jnp.arange(len(pixels))[:, None]

    def picture(values: Float[Array, "BV M P"] | float) -> Float[np.ndarray, "B V T H W C"]:
        filled = unpatchify(pixels.at[rows, masked].set(values), patch_size, grid)
        return np.clip(filled.reshape(batch, views, *filled.shape[1:]), 0, 1)

    def as_pixels(prediction: Float[Array, "B V M P"]) -> Float[Array, "BV M P"]:
        values = merge_views(prediction).astype(jnp.float32)
        if config.objective.targets == "pixels":
            return values
        mean, std = surrounding_statistics(gather_tokens(pixels, visible), visible, masked, grid)
        channels = rearrange(values, "b m (p c) -> b m p c", c=3)
        return rearrange(channels * std + mean, "b m p c -> b m (p c)")

    return Pictures(
        input=picture(gather_tokens(pixels, masked)),
        masked=picture(HIDDEN),
        self_view=picture(as_pixels(self_view)),
        cross_view=picture(as_pixels(cross_view)),
    )


def masked_inputs(
    config: ConfigDict, clips: UInt8[np.ndarray, "B V T H W C"]
) -> tuple[Float[Array, "B V N P"], Mask]:
    """What the model reads of clips, and masks drawn as in training."""
    batch, views = clips.shape[:2]
    mask = draw_masks(config, sample_keys(config.seed, jnp.arange(batch)), views)
    patches = build.clip_patches(config, merge_views(jnp.asarray(clips)))
    return patches.reshape(batch, views, *patches.shape[1:]), mask


def surrounding_statistics(
    visible_pixels: Float[Array, "B K P"],
    visible: Int[Array, "B K"],
    masked: Int[Array, "B M"],
    grid: Grid,
) -> tuple[Float[Array, "B M 1 C"], Float[Array, "B M 1 C"]]:
    """Mean and deviation of each masked tubelet's channels, guessed from the visible ones.

    Those of all visible tubelets of the clip, weighted by the inverse fourth power of their
    distance in the grid.
    """
    places = jnp.asarray(np.indices(grid).reshape(3, -1).T, jnp.float32)
    offsets = places[masked][:, :, None] - places[visible][:, None]
    weights = jnp.sum(offsets**2, axis=-1) ** -2.0
    weights /= weights.sum(axis=-1, keepdims=True)
    channels = rearrange(visible_pixels, "b k (p c) -> b k p c", c=3)
    mean = jnp.einsum("bmk,bkc->bmc", weights, channels.mean(axis=2))
    std = jnp.einsum("bmk,bkc->bmc", weights, channels.std(axis=2, ddof=1))
    return mean[:, :, None], std[:, :, None]
