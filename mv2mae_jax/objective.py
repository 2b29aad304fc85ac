"""The reconstruction objective: patches, targets, motion weights and losses, as pure functions.

Shapes: B clips, T frames, H x W pixels, C channels, N tubelets (tokens) a clip, P pixel values
a tubelet, M masked tubelets. Everything here is float32.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float, Int, UInt8

PatchSize = tuple[int, int, int]


def normalize_pixels(
    clip: UInt8[Array, "*B T H W C"], mean: Sequence[float], std: Sequence[float]
) -> Float[Array, "*B T H W C"]:
    """Bytes to (value / 255 - mean) / std, channel by channel."""
    return (clip.astype(jnp.float32) / 255.0 - jnp.array(mean)) / jnp.array(std)


def patchify(clip: Float[Array, "B T H W C"], patch_size: PatchSize) -> Float[Array, "B N P"]:
    """Cuts a clip into tubelets: tokens ordered (t h w), pixels within one (p0 p1 p2 c).

    Args:
      clip: values in any space; T, H, W are multiples of the tubelet's.
      patch_size: frames, rows and columns of a tubelet.
    """
    p0, p1, p2 = patch_size
    return rearrange(
        clip, "b (t p0) (h p1) (w p2) c -> b (t h w) (p0 p1 p2 c)", p0=p0, p1=p1, p2=p2
    )


def unpatchify(
    patches: Float[Array, "B N P"], patch_size: PatchSize, grid: tuple[int, int, int]
) -> Float[Array, "B T H W C"]:
    """The inverse of `patchify`; `grid` counts the tubelets along time, height and width."""
    p0, p1, p2 = patch_size
    t, h, w = grid
    return rearrange(
        patches,
        "b (t h w) (p0 p1 p2 c) -> b (t p0) (h p1) (w p2) c",
        **{"t": t, "h": h, "w": w, "p0": p0, "p1": p1, "p2": p2},
    )


def normalize_patches(
    patches: Float[Array, "B N P"], channels: int = 3, eps: float = 1e-6
) -> Float[Array, "B N P"]:
    """Each tubelet, channel by channel, to mean 0 and (unbiased) variance 1.

    VideoMAE's targets: the eps stands outside the root.
    """
    x = rearrange(patches, "b n (p c) -> b n p c", c=channels)
    mean = x.mean(axis=-2, keepdims=True)
    std = jnp.sqrt(x.var(axis=-2, ddof=1, keepdims=True))
    return rearrange((x - mean) / (std + eps), "b n p c -> b n (p c)")


def motion_weights(
    clip: Float[Array, "B T H W C"],
    patch_size: PatchSize = (2, 16, 16),
    temperature: float = 60.0,
) -> Float[Array, "B N"]:
    """Weight of every tubelet by how much it moves (Algorithm 1).

    The difference of each frame to the one before it (the first difference stands for the first
    frame too), its L2 norm within each tubelet, and a softmax over all tubelets of the clip.

    Args:
      clip: in the space in which the difference is taken; the paper's temperature of 60 goes
        with ImageNet-normalised pixels (see docs/paper.md).
      patch_size: frames, rows and columns of a tubelet.
      temperature: tau; the higher, the more uniform. `inf` weighs every tubelet alike.

    Returns:
      Weights that sum to 1 over the tubelets of a clip.
    """
    difference = clip[:, 1:] - clip[:, :-1]
    difference = jnp.concatenate([difference[:, :1], difference], axis=1)
    motion = jnp.linalg.norm(patchify(difference, patch_size), axis=-1)
    return jax.nn.softmax(motion / temperature, axis=-1)


def reconstruction_loss(
    prediction: Float[Array, "B M P"],
    target: Float[Array, "B M P"],
    weights: Float[Array, "B M"],
) -> Float[Array, " B"]:
    """Weighted mean squared error over the masked tubelets of each clip (Eq. 2).

    With all weights 1 this is Eq. 1 with the error averaged over a tubelet's pixels, VideoMAE's
    loss.
    """
    error = jnp.square(prediction.astype(jnp.float32) - target).mean(axis=-1)
    return (weights * error).mean(axis=-1)


def effective_patches(weights: Float[Array, "B N"]) -> Float[Array, " B"]:
    """How many tubelets of each clip the weights are spread over, in effect: 1 to N.

    exp(H), with H the entropy of the weights after scaling them to a sum of 1.
    """
    shares = weights / weights.sum(axis=-1, keepdims=True)
    return jnp.exp(jax.scipy.special.entr(shares).sum(axis=-1))


def gather_tokens(x: Float[Array, "B N D"], index: Int[Array, "B M"]) -> Float[Array, "B M D"]:
    """Picks tokens clip by clip."""
    return jnp.take_along_axis(x, index[..., None], axis=1)
