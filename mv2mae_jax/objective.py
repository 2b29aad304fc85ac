"""The reconstruction objective: patches, targets, motion weights and losses, as pure functions.

Shapes: B clips, T frames, H x W pixels, C channels, N tubelets (tokens) a clip, P pixel values
a tubelet, M masked tubelets. Everything here is float32.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float, Int, UInt8
from ml_collections import ConfigDict

MotionFeature = Callable[[Float[Array, "B T H W C"]], Float[Array, "B T H W F"]]


def normalize_pixels(
    clip: UInt8[Array, "*B T H W C"], mean: Sequence[float], std: Sequence[float]
) -> Float[Array, "*B T H W C"]:
    """Bytes to (value / 255 - mean) / std, channel by channel."""
    return (clip.astype(jnp.float32) / 255.0 - jnp.array(mean)) / jnp.array(std)


def patchify(
    clip: Float[Array, "B T H W C"], patch_size: tuple[int, int, int]
) -> Float[Array, "B N P"]:
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
    patches: Float[Array, "B N P"], patch_size: tuple[int, int, int], grid: tuple[int, int, int]
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
    mean, std = patch_statistics(patches, channels)
    return rearrange((x - mean) / (std + eps), "b n p c -> b n (p c)")


def patch_statistics(
    patches: Float[Array, "B N P"], channels: int = 3
) -> tuple[Float[Array, "B N 1 C"], Float[Array, "B N 1 C"]]:
    """Mean and (unbiased) standard deviation of each tubelet's channels."""
    x = rearrange(patches, "b n (p c) -> b n p c", c=channels)
    return x.mean(axis=-2, keepdims=True), x.std(axis=-2, ddof=1, keepdims=True)


def frame_difference(clip: Float[Array, "B T H W C"]) -> Float[Array, "B T H W C"]:
    """Difference of each frame to the one before it; the first one stands for frame 0 too."""
    difference = clip[:, 1:] - clip[:, :-1]
    return jnp.concatenate([difference[:, :1], difference], axis=1)


def motion_history(clip: Float[Array, "B T H W C"], threshold: float) -> Float[Array, "B T H W 1"]:
    """Motion-history image (Bobick and Davis, 2001): how recently each pixel moved.

    1 where a channel has just changed by more than `threshold`, then 1/T less at every frame.
    """
    frames = clip.shape[1]
    moving = jnp.abs(frame_difference(clip)).max(axis=-1, keepdims=True) > threshold
    times = jnp.arange(frames)[:, None, None, None]
    last = jax.lax.cummax(jnp.where(moving, times, -frames), axis=1)
    return jnp.maximum(0.0, 1.0 - (times - last) / frames)


# By their name in `config.objective.motion`; parameters of one are fields of `config.objective`.
MOTION_FEATURES: Mapping[str, Callable[[ConfigDict], MotionFeature]] = {
    "frame_difference": lambda objective: frame_difference,
    "motion_history": lambda objective: partial(
        motion_history, threshold=objective.motion_threshold
    ),
}


def motion_weights(
    clip: Float[Array, "B T H W C"],
    patch_size: tuple[int, int, int] = (2, 16, 16),
    temperature: float = 60.0,
    feature: MotionFeature = frame_difference,
    among: Int[Array, "B M"] | None = None,
) -> Float[Array, "B N"]:
    """Weight of every tubelet by how much it moves (Algorithm 1).

    The L2 norm of a motion feature within each tubelet, and a softmax over the tubelets.

    Args:
      clip: in the space in which the feature is taken; the paper's temperature of 60 goes
        with ImageNet-normalised pixels (see docs/paper.md).
      patch_size: frames, rows and columns of a tubelet.
      temperature: tau; the higher, the more uniform. `inf` weighs every tubelet alike.
      feature: of a clip, any number of channels for every pixel (frame difference, as in the
        paper; motion history; optical flow).
      among: tokens over which the softmax is taken, the others weigh nothing; None: all.

    Returns:
      Weights that sum to 1 over the tubelets of a clip.
    """
    scores = jnp.linalg.norm(patchify(feature(clip), patch_size), axis=-1) / temperature
    if among is not None:
        rows = jnp.arange(len(among))[:, None]
        scores = jnp.full_like(scores, -jnp.inf).at[rows, among].set(scores[rows, among])
    return jax.nn.softmax(scores, axis=-1)


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
