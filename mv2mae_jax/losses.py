"""What training minimises, as a config says: the loss of pre-training and that of fine-tuning."""

import jax
import jax.numpy as jnp
import optax
from einops import rearrange
from jaxtyping import Array, Float, Int, Key, UInt8
from ml_collections import ConfigDict

from mv2mae_jax import mixing
from mv2mae_jax.model import build
from mv2mae_jax.model.classifier import Classifier
from mv2mae_jax.model.masking import Mask, sample_masks
from mv2mae_jax.model.mv2mae import MV2MAE, merge_views
from mv2mae_jax.objective import (
    MOTION_FEATURES,
    MotionFeature,
    effective_patches,
    gather_tokens,
    motion_weights,
    normalize_patches,
    reconstruction_loss,
)
from mv2mae_jax.training.step import DeviceBatch, Metrics


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
    clips = build.normalized(config, merge_views(batch["clips"]))
    patches = build.patches(config, clips)
    mask = draw_masks(config, keys, views)
    masked = merge_views(mask.masked)
    target = reconstruction_target(config, gather_tokens(patches, masked))
    all_weights = token_weights(config, clips, masked)
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
    """Masks for the views of every sample: indices [B V visible] and [B V masked]."""
    view_keys = jax.vmap(lambda key: jax.random.split(key, views))(keys)
    if config.masking.views == "shared":
        view_keys = jnp.repeat(view_keys[:, :1], views, axis=1)
    masking = config.masking
    mask = sample_masks(merge_views(view_keys), masking.kind, masking.ratio, build.grid_of(config))
    return Mask(*(index.reshape(-1, views, index.shape[-1]) for index in mask))


def reconstruction_target(
    config: ConfigDict, patches: Float[Array, "B M P"]
) -> Float[Array, "B M P"]:
    """What the decoders are to predict, from normalised tubelets."""
    pixels = unit_pixels(config, rearrange(patches, "b m (p c) -> b m p c", c=3))
    pixels = rearrange(pixels, "b m p c -> b m (p c)")
    return pixels if config.objective.targets == "pixels" else normalize_patches(pixels)


def token_weights(
    config: ConfigDict, clips: Float[Array, "B T H W C"], masked: Int[Array, "B M"]
) -> Float[Array, "B N"]:
    """Weight of every tubelet's error, with a mean of one under the softmax (or as Eq. 2 reads).

    Args:
      config: of the experiment.
      clips: normalised.
      masked: tokens over which the softmax is taken, if not over all; others then have weight 0.
    """
    objective = config.objective
    among = masked if objective.softmax_over == "masked" else None
    weights = motion_weights(
        in_motion_space(config, clips),
        tuple(config.model.patch_size),
        objective.temperature,
        motion_feature(config),
        among,
    )
    tokens = (weights if among is None else among).shape[-1]
    return weights if objective.weight_scale == "literal" else weights * tokens


def motion_feature(config: ConfigDict) -> MotionFeature:
    """The feature that `objective.motion` names."""
    return MOTION_FEATURES[config.objective.motion](config.objective)


def in_motion_space(
    config: ConfigDict, clips: Float[Array, "B T H W C"]
) -> Float[Array, "B T H W C"]:
    """Normalised clips in the space in which motion is measured."""
    if config.objective.motion_space == "normalized":
        return clips
    unit = unit_pixels(config, clips)
    return unit if config.objective.motion_space == "unit" else 255.0 * unit


def unit_pixels(config: ConfigDict, pixels: Float[Array, "*B C"]) -> Float[Array, "*B C"]:
    """Normalised values back in [0, 1]."""
    return pixels * jnp.array(config.data.std) + jnp.array(config.data.mean)


def classification_loss(
    config: ConfigDict, model: Classifier, batch: DeviceBatch, keys: Key[Array, " B"]
) -> tuple[Float[Array, ""], Metrics]:
    """Cross-entropy with label smoothing, of clips that are erased in part and mixed if so set.

    Args:
      config: of the experiment.
      model: the classifier.
      batch: `clips`, uint8 [B T H W C], `label` and `index`, int [B].
      keys: one random key a sample, for drop path, erasing and mixing.

    Returns:
      The loss, and `accuracy` against `label`, the larger or smaller part of a mixed clip.
    """
    options = config.finetune
    labels = jax.nn.one_hot(batch["label"], model.head.out_features)

    def prepared(
        clips: UInt8[Array, "B T H W C"], keys: Key[Array, " B"]
    ) -> Float[Array, "B T H W C"]:
        pixels = build.normalized(config, clips)
        erasing = options.random_erasing
        return mixing.erase(pixels, keys, erasing) if erasing else pixels

    clips = prepared(batch["clips"], keys)
    if options.mixup or options.cutmix:
        partner = mixing.partners(batch["index"])
        # Prepared once more: a partner may be on another device, which sends bytes, not floats.
        others = prepared(batch["clips"][partner], keys[partner])
        clips, labels = mixing.mix(
            *(clips, labels, others, labels[partner], keys),
            mixup=options.mixup,
            cutmix=options.cutmix,
        )
    logits = model(build.patches(config, clips), keys=keys)
    smoothed = optax.smooth_labels(labels, options.label_smoothing)
    loss = optax.softmax_cross_entropy(logits, smoothed).mean()
    return loss, {"accuracy": (logits.argmax(axis=-1) == batch["label"]).mean()}
