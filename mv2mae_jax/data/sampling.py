"""When and from where: frame times of clips, and the views of a sample.

Times are numbers of stored frames. The views of an activity are synchronised, so one draw of
times serves all of them.
"""

from collections.abc import Collection

import numpy as np
from jaxtyping import Int


def span(num_frames: int, stride: int) -> int:
    """Frames from the first of a clip to its last, both included."""
    return (num_frames - 1) * stride + 1


def last_start(length: int, num_frames: int, stride: int) -> int:
    """Latest frame at which a clip can start and still end within `length` frames; at least 0."""
    return max(0, length - span(num_frames, stride))


def clip_times(start: int, length: int, num_frames: int, stride: int) -> Int[np.ndarray, " T"]:
    """Frame times of the clip that starts at `start`; past the end the last frame repeats."""
    return np.minimum(start + stride * np.arange(num_frames), length - 1)


def random_clip(
    rng: np.random.Generator, length: int, num_frames: int, stride: int
) -> Int[np.ndarray, " T"]:
    """Frame times of a clip at a random place of a video of `length` frames."""
    start = rng.integers(last_start(length, num_frames, stride) + 1)
    return clip_times(int(start), length, num_frames, stride)


def spaced_clips(
    length: int, num_frames: int, stride: int, clips: int
) -> Int[np.ndarray, "clips T"]:
    """Frame times of clips that start evenly spaced from first to last; a single one is central."""
    last = last_start(length, num_frames, stride)
    starts = [last // 2] if clips == 1 else np.rint(np.linspace(0, last, clips)).astype(int)
    return np.stack([clip_times(int(start), length, num_frames, stride) for start in starts])


def choose_views(
    rng: np.random.Generator,
    views: Collection[str],
    num_views: int,
    target: str = "",
    sources: Collection[str] = (),
) -> list[str]:
    """Draws `num_views` different views in random order; the first is the target.

    Args:
      rng: draws them.
      views: of the activity.
      num_views: a target and its sources.
      target: the view that comes first in every sample; empty: drawn.
      sources: the views that all others are drawn from; empty: any.
    """
    usable = usable_views(views, target, sources)
    drawn = [str(view) for view in rng.permutation(sorted(views)) if view in usable]
    return sorted(drawn, key=lambda view: view != target)[:num_views]


def usable_views(
    views: Collection[str], target: str = "", sources: Collection[str] = ()
) -> set[str]:
    """The views that a sample of an activity can have; none if it lacks the target.

    Args as of `choose_views`.
    """
    if target and target not in views:
        return set()
    return {view for view in views if view == target or not sources or view in sources}
