"""Reconstructions as pixels; unless asked for, with nothing in them that the model cannot know."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jaxtyping import Array, Float, Int, UInt8
from ml_collections import ConfigDict

from mv2mae_jax.errors import InputError
from mv2mae_jax.losses import draw_masks
from mv2mae_jax.model import build
from mv2mae_jax.model.grid import Grid
from mv2mae_jax.model.masking import Mask
from mv2mae_jax.model.mv2mae import MV2MAE, Reconstruction, merge_views
from mv2mae_jax.objective import gather_tokens, patch_statistics, patchify, unpatchify
from mv2mae_jax.training.parameters import Definition, Parameters
from mv2mae_jax.training.step import sample_keys
from mv2mae_jax.visualize.pretrained import pretraining_definition

HIDDEN = 0.5  # grey of masked tubelets

# Whose mean and deviation make pixels of normalised predictions: of visible tubelets, which the
# model knows, or of the hidden ones, which it does not.
STATISTICS = ("visible", "truth")


class Pictures(NamedTuple):
    """Clips in [0, 1]; visible tubelets of the reconstructions are those of the input."""

    input: Float[np.ndarray, "B V T H W C"]
    masked: Float[np.ndarray, "B V T H W C"]
    self_view: Float[np.ndarray, "B V T H W C"]
    cross_view: Float[np.ndarray, "B V T H W C"] | None  # None in a run without such a decoder


class UnseenTarget(NamedTuple):
    """Clips in [0, 1] of samples whose target (view 0) is wholly masked."""

    masked: Float[np.ndarray, "B V T H W C"]  # all grey in view 0, the sources as in training
    cross_view: Float[np.ndarray, "B T H W C"]  # the target, predicted from the sources


def reconstruct(
    config: ConfigDict,
    parameters: Parameters,
    clips: UInt8[np.ndarray, "B V T H W C"],
    statistics: str = "visible",
) -> Pictures:
    """Masks views as in training, and fills what is masked from each decoder.

    Args:
      config: of the run.
      parameters: of its model.
      clips: of V views; view 0 is the target.
      statistics: one of `STATISTICS`. `visible`: normalised predictions become pixels with those of
        the visible tubelets around them (`surrounding_statistics`). `truth`: with those of the
        hidden tubelets, which show through; many papers' pictures are made so.
    """
    inputs, mask = masked_inputs(config, clips)
    self_view, cross_view = _predict(pretraining_definition(config), parameters, inputs, mask)
    grid = build.grid_of(config)
    pixels = _unit_patches(config, clips)
    visible, masked = merge_views(mask.visible), merge_views(mask.masked)
    hidden = gather_tokens(pixels, masked)
    if statistics == "truth":
        mean, std = patch_statistics(hidden)
    else:
        mean, std = surrounding_statistics(gather_tokens(pixels, visible), visible, masked, grid)

    def filled(values: Float[Array, "BV M P"] | float) -> Float[np.ndarray, "B V T H W C"]:
        return _clips(config, _put(pixels, masked, values), clips.shape[:2])

    def decoded(prediction: Float[Array, "B V M P"]) -> Float[np.ndarray, "B V T H W C"]:
        return filled(_as_pixels(config, merge_views(prediction), mean, std))

    return Pictures(
        input=filled(hidden),
        masked=filled(HIDDEN),
        self_view=decoded(self_view),
        cross_view=None if cross_view is None else decoded(cross_view),
    )


def reconstruct_unseen(
    config: ConfigDict,
    parameters: Parameters,
    clips: UInt8[np.ndarray, "B V T H W C"],
    statistics: str = "visible",
) -> UnseenTarget:
    """Predicts targets of which nothing is visible from their sources, which are masked as ever.

    Args: as of `reconstruct`. `visible` are here the sources' visible tubelets: nothing else is
      known, and all of the target gets their mean and their mean deviation.

    Raises:
      InputError: the run has no cross-view decoder.
    """
    inputs, mask = masked_inputs(config, clips)
    definition = pretraining_definition(config)
    prediction = _predict_unseen(definition, parameters, inputs[:, 1:], _of_sources(mask))
    batch, views = clips.shape[:2]
    pixels = _unit_patches(config, clips)
    of_views = pixels.reshape(batch, views, *pixels.shape[1:])
    if statistics == "truth":
        mean, std = patch_statistics(of_views[:, 0])
    else:
        sources = gather_tokens(merge_views(of_views[:, 1:]), merge_views(mask.visible[:, 1:]))
        mean, std = (
            rearrange(x, "(b s) k 1 c -> b (s k) 1 c", b=batch).mean(axis=1, keepdims=True)
            for x in patch_statistics(sources)
        )
    masked = _put(pixels, merge_views(mask.masked), HIDDEN)
    grey = _clips(config, masked, (batch, views))
    grey[:, 0] = HIDDEN
    predicted = _as_pixels(config, prediction, mean, std)
    return UnseenTarget(grey, _clips(config, predicted, (batch, 1))[:, 0])


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
    mean, std = (x[:, :, 0] for x in patch_statistics(visible_pixels))
    mean = jnp.einsum("bmk,bkc->bmc", weights, mean)
    std = jnp.einsum("bmk,bkc->bmc", weights, std)
    return mean[:, :, None], std[:, :, None]


@partial(jax.jit, static_argnums=0)  # kept by the definition: compiled once, however often called
def _predict(
    definition: Definition[MV2MAE], parameters: Parameters, inputs: Array, mask: Mask
) -> Reconstruction:
    return definition.bind(parameters)(inputs, mask)


@partial(jax.jit, static_argnums=0)
def _predict_unseen(
    definition: Definition[MV2MAE], parameters: Parameters, inputs: Array, mask: Mask
) -> Array:
    model = definition.bind(parameters)
    if not model.has_cross_view:
        raise InputError("a run without cross-view decoder predicts no view from another")
    return model.predict_unseen(inputs, mask)


def _of_sources(mask: Mask) -> Mask:
    return Mask(mask.visible[:, 1:], mask.masked[:, 1:])


def _unit_patches(
    config: ConfigDict, clips: UInt8[np.ndarray, "B V T H W C"]
) -> Float[Array, "BV N P"]:
    """Tubelets of all views in [0, 1]."""
    return patchify(merge_views(jnp.asarray(clips) / 255.0), tuple(config.model.patch_size))


def _put(
    pixels: Float[Array, "B N P"], masked: Int[Array, "B M"], values: Float[Array, "B M P"] | float
) -> Float[Array, "B N P"]:
    """The tubelets with others in the masked places."""
    return pixels.at[jnp.arange(len(pixels))[:, None], masked].set(values)


def _clips(
    config: ConfigDict, pixels: Float[Array, "BV N P"], batch_and_views: tuple[int, ...]
) -> Float[np.ndarray, "B V T H W C"]:
    """Tubelets put together again, within [0, 1]."""
    clips = unpatchify(pixels, tuple(config.model.patch_size), build.grid_of(config))
    return np.array(jnp.clip(clips, 0, 1)).reshape(*batch_and_views, *clips.shape[1:])


def _as_pixels(
    config: ConfigDict,
    prediction: Float[Array, "B M P"],
    mean: Float[Array, "B _ 1 C"],
    std: Float[Array, "B _ 1 C"],
) -> Float[Array, "B M P"]:
    """What was predicted as values in [0, 1], with these statistics if it was normalised."""
    values = prediction.astype(jnp.float32)
    if config.objective.targets == "pixels":
        return values
    channels = rearrange(values, "b m (p c) -> b m p c", c=3)
    return rearrange(channels * std + mean, "b m p c -> b m (p c)")
