"""Augmentation on the device: clips that are blended, pasted into each other, or erased in part.

Pure functions of normalised clips: B clips, T frames, H x W pixels, C channels. Shares and boxes
come from one key a sample and are the same in all frames of a clip.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

# What is folded into a sample's key; drop path folds in the numbers of blocks.
_ERASING, _MIXING = 1000, 1001

_ERASED_AREA = (0.02, 1 / 3)  # share of the frame
_ERASED_ASPECT = (0.3, 1 / 0.3)  # height to width


def erase(
    clips: Float[Array, "B T H W C"], keys: Key[Array, " B"], probability: float
) -> Float[Array, "B T H W C"]:
    """Random erasing (Zhong et al., 2020): one box of a clip becomes standard normal noise.

    The box is timm's: its area is uniform, its shape log-uniform, its place anywhere within the
    frame. A box that is longer than the frame is cut (0.4% of them in a square frame), where timm
    draws again. Every pixel of every frame has noise of its own, as in VideoMAE.

    Args:
      clips: normalised pixels.
      keys: one a sample.
      probability: that a clip has such a box.
    """

    def erase_one(clip: Float[Array, "T H W C"], key: Key[Array, ""]) -> Float[Array, "T H W C"]:
        whether, where, what = jax.random.split(jax.random.fold_in(key, _ERASING), 3)
        box = _erased_box(where, *clip.shape[1:3]) & jax.random.bernoulli(whether, probability)
        return jnp.where(box[..., None], jax.random.normal(what, clip.shape), clip)

    return jax.vmap(erase_one)(clips, keys)


def mix(
    clips: Float[Array, "B T H W C"],
    labels: Float[Array, "B classes"],
    others: Float[Array, "B T H W C"],
    other_labels: Float[Array, "B classes"],
    keys: Key[Array, " B"],
    *,
    mixup: float,
    cutmix: float,
) -> tuple[Float[Array, "B T H W C"], Float[Array, "B classes"]]:
    """Mixup (Zhang et al., 2018) and cutmix (Yun et al., 2019), one of them for each sample.

    Mixup blends a clip with its partner's; cutmix pastes in a box of its partner's. Of the labels
    each has the share that it has of the pixels.

    Args:
      clips: normalised pixels.
      labels: probabilities of the classes.
      others: the clips of their `partners`.
      other_labels: the labels of these.
      keys: one a sample.
      mixup: alpha: the own share is drawn from Beta(alpha, alpha); 0: no mixup.
      cutmix: the same for cutmix, before the box is cut at the frame's border; if both are on,
        every sample takes either, half of the time each.
    """
    height, width = clips.shape[2:4]
    own = jax.vmap(lambda key: _own_share(key, height, width, mixup, cutmix))(keys)
    weight = own[:, None, :, :, None]
    share = own.mean(axis=(1, 2))[:, None]
    return weight * clips + (1 - weight) * others, share * labels + (1 - share) * other_labels


def partners(index: Int[Array, " B"]) -> Int[Array, " B"]:
    """Rows of the samples' partners: the first by running number has the last, and so on.

    So pairs do not depend on the order in which processes lay a batch out. With accumulation they
    are made within each micro-batch, and its samples are those that the layout gives it.
    """
    order = jnp.argsort(index)
    return jnp.zeros_like(order).at[order].set(order[::-1])


def _own_share(
    key: Key[Array, ""], height: int, width: int, mixup: float, cutmix: float
) -> Float[Array, "{height} {width}"]:
    """How much of each pixel stays."""
    which, blend, box = jax.random.split(jax.random.fold_in(key, _MIXING), 3)
    shares = []
    if mixup:
        shares.append(jnp.full((height, width), jax.random.beta(blend, mixup, mixup)))
    if cutmix:
        shares.append(1.0 - _pasted_box(box, height, width, cutmix))
    return jax.random.choice(which, jnp.stack(shares))


def _pasted_box(
    key: Key[Array, ""], height: int, width: int, alpha: float
) -> Bool[Array, "{height} {width}"]:
    """A box with the frame's shape about any of its pixels, cut at the border."""
    share_key, y_key, x_key = jax.random.split(key, 3)
    side = jnp.sqrt(1 - jax.random.beta(share_key, alpha, alpha))

    def within(key: Key[Array, ""], size: int) -> Bool[Array, " {size}"]:
        half = jnp.floor(size * side) // 2
        centre = jax.random.randint(key, (), 0, size)
        return (jnp.arange(size) >= centre - half) & (jnp.arange(size) < centre + half)

    return within(y_key, height)[:, None] & within(x_key, width)


def _erased_box(key: Key[Array, ""], height: int, width: int) -> Bool[Array, "{height} {width}"]:
    area_key, aspect_key, y_key, x_key = jax.random.split(key, 4)
    least, most = _ERASED_AREA
    area = jax.random.uniform(area_key, minval=least, maxval=most) * height * width
    least, most = map(math.log, _ERASED_ASPECT)
    aspect = jnp.exp(jax.random.uniform(aspect_key, minval=least, maxval=most))

    def within(key: Key[Array, ""], length: Float[Array, ""], size: int) -> Bool[Array, " {size}"]:
        length = jnp.minimum(jnp.round(length), size)
        start = jnp.floor(jax.random.uniform(key) * (size - length + 1))
        return (jnp.arange(size) >= start) & (jnp.arange(size) < start + length)

    rows = within(y_key, jnp.sqrt(area * aspect), height)
    return rows[:, None] & within(x_key, jnp.sqrt(area / aspect), width)
