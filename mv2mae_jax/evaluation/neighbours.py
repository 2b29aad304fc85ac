"""What is near in feature space: how often neighbours have something in common."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from sklearn.preprocessing import StandardScaler, normalize

from mv2mae_jax.errors import InputError


class Purity(NamedTuple):
    """How pure neighbourhoods are.

    Attributes:
      share: of the nearest neighbours that have a video's own label, mean over videos.
      chance: the same of all possible neighbours.
      neighbours: how many each video has.
    """

    share: float
    chance: float
    neighbours: int


def neighbour_purity(
    features: Float[np.ndarray, "V F"],
    labels: Int[np.ndarray, " V"],
    activities: Int[np.ndarray, " V"],
    neighbours: int,
) -> Purity:
    """Purity of the nearest neighbours by the cosine of standardised features.

    Views of one activity are not neighbours of one another: they show the same moment.

    Args:
      features: of videos.
      labels: that neighbours may have in common.
      activities: what each video is a view of.
      neighbours: of each video; fewer if it has fewer.

    Raises:
      InputError: all videos are of one activity.
    """
    possible = activities[:, None] != activities
    if not possible.any():
        raise InputError("all videos are views of one activity; take more of them")
    neighbours = min(neighbours, int(possible.sum(axis=1).min()))
    directions = normalize(StandardScaler().fit_transform(features))
    similarity = np.where(possible, directions @ directions.T, -np.inf)
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :neighbours]
    alike = labels[:, None] == labels
    share = np.take_along_axis(alike, nearest, axis=1).mean()
    chance = ((alike & possible).sum(axis=1) / possible.sum(axis=1)).mean()
    return Purity(float(share), float(chance), neighbours)
