"""Which videos frozen-feature probes are fitted to and scored on.

A function of the ids alone: the same at every probe, and in every run on the same split.
"""

import itertools
import operator
from collections import Counter, defaultdict
from collections.abc import Sequence, Set
from typing import NamedTuple

from ml_collections import ConfigDict

from mv2mae_jax.data.protocols import hashed
from mv2mae_jax.data.samples import Video
from mv2mae_jax.data.splits import split_videos


class ProbeVideos(NamedTuple):
    """Of different activities, and of different subjects where all subjects are known."""

    train: list[Video]
    test: list[Video]


def training_videos(config: ConfigDict) -> ProbeVideos:
    """Videos to fit and to score probes with while an encoder is trained: the test split has none.

    Those that are scored come from the validation split if `data.validation_subjects` make one,
    else from activities that the training split sets aside. They are of classes that are fitted.

    Returns:
      `probe.train_videos` and `probe.test_videos` videos, or as many as there are; classes are as
      equally frequent as they can be.

    Raises:
      InputError: the data set or its training split cannot be used as configured.
    """
    sizes = config.probe
    videos = split_videos(config, "train")
    if config.data.validation_subjects:
        return chosen(config, videos, split_videos(config, "validation"))
    share = sizes.test_videos / (sizes.train_videos + sizes.test_videos)
    return chosen(config, *set_aside(videos, share))


def chosen(config: ConfigDict, fitted: Sequence[Video], scored: Sequence[Video]) -> ProbeVideos:
    """As many of each as `config.probe` says; those that are scored are of classes that are fitted.

    Args:
      config: of the experiment.
      fitted: videos to choose from for fitting.
      scored: for scoring.
    """
    train = balanced(fitted, config.probe.train_videos)
    classes = {video.activity.label for video in train}
    known = [video for video in scored if video.activity.label in classes]
    return ProbeVideos(train, balanced(known, config.probe.test_videos))


def set_aside(videos: Sequence[Video], share: float) -> tuple[list[Video], list[Video]]:
    """Divides videos into those that stay and, about a `share`, those that are set aside.

    All videos of a subject are on one side; if there are not two known subjects, all of an
    activity, and so many of each class.
    """
    subjects = {video.activity.subject for video in videos}
    if len(subjects) > 1 and "" not in subjects:
        aside = _first(subjects, share)
        is_aside = [video.activity.subject in aside for video in videos]
    else:
        classes = defaultdict(set)
        for video in videos:
            classes[video.activity.label].add(video.activity.id)
        aside = set().union(*(_first(ids, share) for ids in classes.values()))
        is_aside = [video.activity.id in aside for video in videos]
    stay = list(itertools.compress(videos, map(operator.not_, is_aside)))
    return stay, list(itertools.compress(videos, is_aside))


def _first(names: Set[str], share: float) -> set[str]:
    """A share of the names in the order of their hashes: at least one, but never all."""
    count = min(max(1, round(share * len(names))), len(names) - 1)
    return set(sorted(names, key=hashed)[:count])


def balanced(videos: Sequence[Video], count: int) -> list[Video]:
    """So many of the videos, turn by turn from each class, in the order of the index."""
    taken: Counter[int] = Counter()
    turns = []
    for video in sorted(videos, key=lambda video: hashed(f"{video.activity.id}/{video.view}")):
        turns.append((taken[video.activity.label], video))
        taken[video.activity.label] += 1
    chosen = [video for _, video in sorted(turns, key=lambda turn: turn[0])[:count]]
    return sorted(chosen, key=lambda video: (video.activity.position, video.view))
