"""The spatial crops of test clips, cut on the device: 1, 5 or 10 of each clip."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

Clips = UInt8[Array, "B T size size C"]


def over_crops(
    function: Callable[[Clips], Float[Array, "B K"]],
    clips: UInt8[Array, "B clips T H W C"],
    size: int,
    crops: int,
) -> Float[Array, "clips crops B K"]:
    """A function of every crop of every clip.

    One crop of all videos is computed at a time, so that memory does not grow with their number.

    Args:
      function: of a batch of cropped clips.
      clips: with frames as `data.augment.fit_for_crops` leaves them.
      size: of a crop, pixels.
      crops: 1 (centre), 5 (corners and centre) or 10 (each also mirrored).
    """
    height, width = clips.shape[3:5]
    places = jnp.asarray(crop_places(height, width, size, crops))

    def of_clip(clip: UInt8[Array, "B T H W C"]) -> Float[Array, "crops B K"]:
        return jax.lax.map(lambda place: function(take_crop(clip, place, size)), places)

    return jax.lax.map(of_clip, jnp.swapaxes(clips, 0, 1))


def crop_places(height: int, width: int, size: int, crops: int) -> Int[np.ndarray, "crops 3"]:
    """Top, left, and whether mirrored, of each crop."""
    bottom, right = height - size, width - size
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right)] if crops > 1 else []
    places = [*corners, (bottom // 2, right // 2)]
    return np.array(
        [(*place, mirrored) for mirrored in range(crops // len(places)) for place in places]
    )


def take_crop(clips: UInt8[Array, "B T H W C"], place: Int[Array, "3"], size: int) -> Clips:
    """One of `crop_places`."""
    top, left, mirrored = place
    rows = jax.lax.dynamic_slice_in_dim(clips, top, size, axis=2)
    cut = jax.lax.dynamic_slice_in_dim(rows, left, size, axis=3)
    # A branch: bytes turned round and left aside would cost a CPU most of the time of cutting.
    return jax.lax.cond(mirrored, lambda crop: crop[:, :, :, ::-1], lambda crop: crop, cut)
