"""What a config trains and tests on: activities or videos of a split, and the classes."""

from collections.abc import Sequence

from ml_collections import ConfigDict

from mv2mae_jax.data.protocols import protocol_classes, split_activities
from mv2mae_jax.data.records import Activity, Index, load_index
from mv2mae_jax.data.samples import Video


def split_of(config: ConfigDict, index: Index, split: str) -> list[Activity]:
    """The activities of a split, in the order of the index, each with the views it may see.

    Raises:
      InputError: the split cannot be made as configured.
    """
    data = config.data
    return split_activities(
        index,
        data.protocol,
        split,
        test_views=data.test_views,
        test_subjects=data.test_subjects,
        validation_subjects=data.validation_subjects,
        train_fraction=data.train_fraction,
    )


def videos_of(activities: Sequence[Activity]) -> list[Video]:
    """Every view of every activity."""
    return [Video(activity, view) for activity in activities for view in sorted(activity.views)]


def split_videos(config: ConfigDict, split: str) -> list[Video]:
    """The videos of a split, in the order of the index; labels count the protocol's classes.

    Raises:
      InputError: the data set or its split cannot be used as configured.
    """
    index = load_index(config.data.data_dir, config.data.dataset)
    return videos_of(split_of(config, index, split))


def class_names(config: ConfigDict) -> tuple[str, ...]:
    """Names of the classes that the configured protocol tells apart; labels count them from 0.

    Raises:
      InputError: the data set has not been built, or its index cannot be read.
    """
    index = load_index(config.data.data_dir, config.data.dataset)
    return protocol_classes(index, config.data.protocol)
