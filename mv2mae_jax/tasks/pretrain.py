"""Pre-training: reconstruct the masked tubelets of each view from itself and from the others."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key
from ml_collections import ConfigDict

from mv2mae_jax.data import loader
from mv2mae_jax.evaluation.scheduled_probe import scheduled_probe
from mv2mae_jax.interop.initial import load_initial
from mv2mae_jax.model import build
from mv2mae_jax.model.masking import Mask, sample_masks
from mv2mae_jax.model.mv2mae import MV2MAE, merge_views
from mv2mae_jax.objective import (
    gather_tokens,
    motion_weights,
    normalize_patches,
    normalize_pixels,
    patchify,
    reconstruction_loss,
)
from mv2mae_jax.training.checkpoints import has_checkpoint
from mv2mae_jax.training.loop import train
from mv2mae_jax.training.sharding import make_mesh
from mv2mae_jax.training.step import DeviceBatch, Metrics
from mv2mae_jax.training.workdir import open_workdir


def pretrain(config: ConfigDict, workdir: str | Path) -> None:
    """Pre-trains an encoder on the training split of a protocol, ignoring the labels."""
    steps_per_epoch = loader.steps_per_epoch(config)
    starts = config.pretrain.init_from and not has_checkpoint(workdir)
    initial = load_initial(config, config.pretrain.init_from) if starts else None
    mesh = make_mesh(config.mesh.fsdp)
    train(
        config,
        open_workdir(workdir, config),
        make_model=partial(build.pretraining_model, config),
        loss=partial(pretraining_loss, config),
        batches=loader.pretraining_batches,
        steps_per_epoch=steps_per_epoch,
        unit="pairs" if config.data.num_views == 2 else "samples",
        mesh=mesh,
        initial=initial,
        probe=scheduled_probe(config, mesh),
        probe_every=max(1, round(config.probe.every_epochs * steps_per_epoch)),
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
      The loss, summed over views and averaged over samples; and its two parts.
    """
    batch_size, views = batch["clips"].shape[:2]
    clips = normalize_pixels(merge_views(batch["clips"]), config.data.mean, config.data.std)
    patches = patchify(clips, tuple(config.model.patch_size))
    mask = draw_masks(config, keys, views)
    masked = merge_views(mask.masked)
    target = reconstruction_target(config, gather_tokens(patches, masked))
    weights = jnp.take_along_axis(token_weights(config, clips), masked, axis=1)

    def loss_of(prediction: Float[Array, "B V M P"]) -> Float[Array, ""]:
        return views * reconstruction_loss(merge_views(prediction), target, weights).mean()

    result = model(patches.reshape(batch_size, views, *patches.shape[1:]), mask)
    self_view = loss_of(result.self_view)
    if result.cross_view is None:
        return self_view, {"self_view": self_view}
    cross_view = loss_of(result.cross_view)
    loss = self_view + config.objective.cross_view * cross_view
    return loss, {"self_view": self_view, "cross_view": cross_view}


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
