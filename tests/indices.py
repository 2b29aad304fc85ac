"""Indices of data sets that were never built: official names are enough to test protocols."""

from collections.abc import Iterable

from etils import epath

from mv2mae_jax.data.protocols import split_activities
from mv2mae_jax.data.records import Activity, Index
from tfds_builders.manifest import Manifest


def index_of(dataset: str, manifest: Manifest) -> Index:
    """The index that building this manifest gives, were every video 100 frames long."""
    activities = tuple(
        Activity(
            position=position,
            id=rows[0].activity,
            label=manifest.classes.index(rows[0].label),
            subject=rows[0].subject,
            setup=rows[0].setup,
            views={row.view: 100 for row in rows},
        )
        for position, rows in enumerate(manifest.activities())
    )
    return Index(dataset, epath.Path(dataset), manifest.classes, 144, 4, activities)


def videos(activities: Iterable[Activity]) -> set[tuple[str, str]]:
    """Activity and view of every video."""
    return {(activity.id, view) for activity in activities for view in activity.views}


def split_videos(
    index: Index, protocol: str, **options: tuple[str, ...]
) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """Videos of the training and of the test split; none is in both."""
    training, testing = (
        videos(split_activities(index, protocol, split, **options)) for split in ("train", "test")
    )
    assert not training & testing
    return training, testing


def split_subjects(
    index: Index, protocol: str, **options: tuple[str, ...]
) -> tuple[set[str], set[str]]:
    """Subjects of the training and of the test split; none is in both."""
    training, testing = (
        {a.subject for a in split_activities(index, protocol, split, **options)}
        for split in ("train", "test")
    )
    assert not training & testing
    return training, testing
