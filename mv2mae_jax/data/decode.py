"""JPEGs to pixels, only those that are needed."""

from collections.abc import Sequence

import numpy as np
import simplejpeg
from jaxtyping import Int, UInt8


def decode_frames(
    jpegs: Sequence[bytes], times: Int[np.ndarray, " T"]
) -> UInt8[np.ndarray, "T H W 3"]:
    """Decodes the frames at `times`, RGB; one that occurs several times is decoded once.

    Args:
      jpegs: the stored frames of one view.
      times: which of them, in any order.

    Raises:
      ValueError: a frame is not a JPEG, or not of the size of the others.
    """
    unique, places = np.unique(times, return_inverse=True)
    decoded = np.stack(
        [
            simplejpeg.decode_jpeg(jpegs[time], "RGB", fastdct=True, fastupsample=True)
            for time in unique
        ]
    )
    return decoded if len(unique) == len(times) and (np.diff(times) > 0).all() else decoded[places]
