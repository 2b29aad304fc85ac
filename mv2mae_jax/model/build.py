"""From a config to a model, and from bytes to what a model reads."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, UInt8
from ml_collections import ConfigDict

from mv2mae_jax.model.classifier import Classifier
from mv2mae_jax.model.encoder import Encoder
from mv2mae_jax.model.mv2mae import MV2MAE
from mv2mae_jax.model.positions import Grid, tubelet_grid
from mv2mae_jax.model.variants import VARIANTS
from mv2mae_jax.objective import normalize_pixels, patchify


def pretraining_model(config: ConfigDict, rngs: nnx.Rngs) -> MV2MAE:
    """The masked autoencoder that a config describes."""
    return MV2MAE(*_sizes(config), **_kind(config), rngs=rngs)


def classifier(config: ConfigDict, num_classes: int, rngs: nnx.Rngs) -> Classifier:
    """The classifier that a config describes."""
    drop_path = config.model.drop_path
    return Classifier(*_sizes(config), num_classes, **_kind(config), drop_path=drop_path, rngs=rngs)


def encoder(config: ConfigDict, rngs: nnx.Rngs) -> Encoder:
    """The encoder alone."""
    return Encoder(*_sizes(config), **_kind(config), rngs=rngs)


def clip_patches(config: ConfigDict, clips: UInt8[Array, "B T H W C"]) -> Float[Array, "B N P"]:
    """Bytes to all of a clip's tubelets, ImageNet-normalised."""
    pixels = normalize_pixels(clips, config.data.mean, config.data.std)
    return patchify(pixels, tuple(config.model.patch_size))


def grid_of(config: ConfigDict) -> Grid:
    """Tubelets of a clip along time, height and width."""
    data = config.data
    return tubelet_grid(data.num_frames, data.image_size, tuple(config.model.patch_size))


def _sizes(config: ConfigDict) -> tuple:
    p0, p1, p2 = config.model.patch_size
    return VARIANTS[config.model.variant], grid_of(config), 3 * p0 * p1 * p2


def _kind(config: ConfigDict) -> dict:
    return {"positions": config.model.positions, "dtype": jnp.dtype(config.model.dtype)}
