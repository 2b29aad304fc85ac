"""From the predictions of single views to one of all views of an activity."""

import numpy as np
from jaxtyping import Float, Int


def fuse_views(
    probabilities: Float[np.ndarray, "V K"],
    labels: Int[np.ndarray, " V"],
    activities: Int[np.ndarray, " V"],
) -> tuple[Float[np.ndarray, "A K"], Int[np.ndarray, " A"]]:
    """Late fusion: the mean over the views of each activity (Table 17).

    Args:
      probabilities: of K classes for V videos.
      labels: true classes; the views of an activity share theirs.
      activities: which activity each video is a view of.

    Returns:
      Probabilities and labels of the A distinct activities.
    """
    _, first, member = np.unique(activities, return_index=True, return_inverse=True)
    sums = np.zeros((len(first), probabilities.shape[1]))
    np.add.at(sums, member, probabilities)
    return sums / np.bincount(member)[:, None], labels[first]
