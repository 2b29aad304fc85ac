"""Pre-training: reconstruct the masked tubelets of each view from itself and from the others."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key
from ml_collections import ConfigDict

from mv2mae_jax.data import loader
from mv2mae_jax.model import build
from mv2mae_jax.model.masking import Mask, sample_masks
from mv2mae_jax.model.mv2mae import MV2MAE, merge_views
from mv2mae_jax.objective import (
    effective_patches,
    gather_tokens,
    motion_weights,
    normalize_patches,
    normalize_pixels,
    patchify,
    reconstruction_loss,
)
from mv2mae_jax.training.loop import train
from mv2mae_jax.training.sharding import make_mesh
from mv2mae_jax.training.step import DeviceBatch, Metrics
from mv2mae_jax.training.workdir import open_workdir


def pretrain(config: ConfigDict, workdir: str | Path) -> None:
    """Pre-trains an encoder on the training split of a protocol, ignoring the labels."""
    steps_per_epoch = loader.steps_per_epoch(config)
    train(
        config,
        open_workdir(workdir, config),
        make_model=partial(build.pretraining_model, config),
        loss=partial(pretraining_loss, config),
        batches=loader.pretraining_batches,
        steps_per_epoch=steps_per_epoch,
        unit="pairs" if config.data.num_views == 2 else "samples",
        mesh=make_mesh(config.mesh.fsdp),
    )


def pretraining_loss(
    config: ConfigDict, model: MV2MAE, batch: DeviceBatch, keys: Key[Array, " B"]
) -> tuple[Float[Array, ""], Metrics]:
    """Eq. 3: for every view of an activity, self-view and cross-view reconstruction.

    Args:
      config: of the experiment.
      model: the model.
      batch: `clips`, uint8 [B V T H W C], V synchronised views.
      keys: one random key a sample.

    Returns:
      The loss, summed over views and averaged over samples; and, averaged over samples too:
      `self_view` and `cross_view`, its two parts, of which each is the sum of its terms for the
      target (view 0; `_target`) and for the V - 1 sources (their mean is `_source`);
      `effective_patches` and `masked_motion` of a clip: the number of tubelets that its motion
      weights are spread over, and the share of them that the mask hides.
    """
    batch_size, views = batch["clips"].shape[:2]
    clips = normalize_pixels(merge_views(batch["clips"]), config.data.mean, config.data.std)
    patches = patchify(clips, tuple(config.model.patch_size))
    mask = draw_masks(config, keys, views)
    masked = merge_views(mask.masked)
    target = reconstruction_target(config, gather_tokens(patches, masked))
    all_weights = token_weights(config, clips)
    weights = jnp.take_along_axis(all_weights, masked, axis=1)

    def terms(name: str, prediction: Float[Array, "B V M P"]) -> Metrics:
        errors = reconstruction_loss(merge_views(prediction), target, weights)
        of_views = errors.reshape(-1, views).mean(axis=0)
        metrics = {name: of_views.sum(), f"{name}_target": of_views[0]}
        return metrics | ({f"{name}_source": of_views[1:].mean()} if views > 1 else {})

    result = model(patches.reshape(batch_size, views, *patches.shape[1:]), mask)
    metrics = terms("self_view", result.self_view) | {
        "effective_patches": effective_patches(all_weights).mean(),
        "masked_motion": (weights.sum(axis=-1) / all_weights.sum(axis=-1)).mean(),
    }
    if result.cross_view is None:
        return metrics["self_view"], metrics
    metrics |= terms("cross_view", result.cross_view)
    return metrics["self_view"] + config.objective.cross_view * metrics["cross_view"], metrics


def draw_masks(config: ConfigDict, keys: Key[Array, " B"], views: int) -> Mask:
    """Independent masks for the views of every sample: indices [B V visible], [B V masked]."""
    view_keys = jax.vmap(lambda key: jax.random.split(key, views))(keys)
    masking = config.masking
    mask = sample_masks(merge_views(view_keys), masking.kind, masking.ratio, build.grid_of(config))
    return Mask(*(index.reshape(-1, views, index.shape[-1]) for index in mask))


def reconstruction_target(
    config: ConfigDict, patches: Float[Array, "B M P"]
) -> Float[Array, "B M P"]:
    """What the decoders are to predict, from ImageNet-normalised tubelets."""
    channels = patches.reshape(*patches.shape[:-1], -1, 3)
    pixels = channels * jnp.array(config.data.std) + jnp.array(config.data.mean)
    pixels = pixels.reshape(patches.shape)
    return pixels if config.objective.targets == "pixels" else normalize_patches(pixels)


def token_weights(config: ConfigDict, clips: Float[Array, "B T H W C"]) -> Float[Array, "B N"]:
    """Weight of every tubelet's error, with a mean of one over a clip (or as Eq. 2 reads)."""
    objective = config.objective
    weights = motion_weights(clips, tuple(config.model.patch_size), objective.temperature)
    return weights if objective.weight_scale == "literal" else weights * weights.shape[-1]
