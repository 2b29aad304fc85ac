"""From a config to a model, and from bytes to what a model reads."""

import math
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, UInt8
from ml_collections import ConfigDict

from mv2mae_jax.model.classifier import Classifier
from mv2mae_jax.model.encoder import Encoder
from mv2mae_jax.model.grid import Grid, tubelet_grid
from mv2mae_jax.model.mv2mae import MV2MAE
from mv2mae_jax.model.variants import VARIANTS
from mv2mae_jax.objective import normalize_pixels, patchify


def pretraining_model(config: ConfigDict, rngs: nnx.Rngs) -> MV2MAE:
    """The masked autoencoder that a config describes."""
    return MV2MAE(
        **_encoder_arguments(config),
        cross_view=config.data.num_views > 1 and config.objective.cross_view > 0,
        separate_projectors=config.model.projector == "separate",
        rngs=rngs,
    )


def classifier(config: ConfigDict, num_classes: int, rngs: nnx.Rngs) -> Classifier:
    """The classifier that a config describes."""
    return Classifier(
        **_encoder_arguments(config),
        num_classes=num_classes,
        drop_path=config.model.drop_path,
        rngs=rngs,
    )


def encoder(config: ConfigDict, rngs: nnx.Rngs) -> Encoder:
    """The encoder alone."""
    return Encoder(**_encoder_arguments(config), rngs=rngs)


def clip_patches(config: ConfigDict, clips: UInt8[Array, "B T H W C"]) -> Float[Array, "B N P"]:
    """Bytes to all of a clip's tubelets, normalised."""
    return patches(config, normalized(config, clips))


def normalized(config: ConfigDict, clips: UInt8[Array, "B T H W C"]) -> Float[Array, "B T H W C"]:
    """Bytes to pixels normalised by `data.mean` and `data.std` (by default ImageNet's)."""
    return normalize_pixels(clips, config.data.mean, config.data.std)


def patches(config: ConfigDict, clips: Float[Array, "B T H W C"]) -> Float[Array, "B N P"]:
    """All of a clip's tubelets."""
    return patchify(clips, tuple(config.model.patch_size))


def grid_of(config: ConfigDict) -> Grid:
    """Tubelets of a clip along time, height and width."""
    data = config.data
    return tubelet_grid(data.num_frames, data.image_size, tuple(config.model.patch_size))


def _encoder_arguments(config: ConfigDict) -> dict[str, Any]:
    model = config.model
    return {
        "variant": VARIANTS[model.variant],
        "grid": grid_of(config),
        "pixels": 3 * math.prod(model.patch_size),
        "positions": model.positions,
        "dtype": jnp.dtype(model.dtype),
        "remat": model.remat,
    }
