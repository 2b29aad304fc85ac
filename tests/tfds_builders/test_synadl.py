"""SynADL's names, and its subsets of given sizes."""

import dataclasses
from pathlib import Path

import pytest
from indices import index_of, videos

from mv2mae_jax.data.protocols import ETRI_TRAIN_VIDEOS, split_activities
from mv2mae_jax.data.records import Index
from mv2mae_jax.errors import InputError
from tfds_builders.etri import layout as etri
from tfds_builders.manifest import Row
from tfds_builders.synadl import layout


@pytest.fixture(scope="module")
def synadl() -> Index:
    """All names from A001_P101_G001_C001 to A055_P115_G004_C028."""
    names = [
        f"RGB/A{a:03}_P{p}_G{g:03}_C{c:03}.avi"
        for a in range(1, 56)
        for p in range(101, 116)
        for g in range(1, 5)
        for c in range(1, 29)
    ]
    return index_of("synadl", layout.read(Path("raw"), names))


def repeated(synadl: Index, times: int) -> Index:
    """As many times more activities of the same kind."""
    activities = tuple(
        dataclasses.replace(activity, id=f"{activity.id}L{light}", position=light * 3_300 + number)
        for light in range(times)
        for number, activity in enumerate(synadl.activities)
    )
    return dataclasses.replace(synadl, activities=activities)


@pytest.fixture(scope="module")
def large(synadl: Index) -> Index:
    return repeated(synadl, 4)


def test_names_and_classes_are_etris() -> None:
    path = "RGB/A002_P115_G004_C028.avi"
    assert layout.CLASSES == etri.CLASSES
    assert layout.read(Path("raw"), [path]).rows == (
        Row("A002P115G004", "28", path, "pouring water into a cup", subject="115"),
    )


def test_etris_subjects_are_named() -> None:
    manifest = layout.read(Path("raw"), ["A001_P101_G001_C001.avi", "A001_P100_G001_C001.mp4"])
    (item,) = manifest.unused
    assert (item.path, item.reason) == (
        "A001_P100_G001_C001.mp4",
        "subject 100 is not of this data set",
    )


def test_the_full_grid_has_28_views(synadl: Index) -> None:
    assert len(videos(synadl.activities)) == 92_400
    assert {len(a.views) for a in synadl.activities} == {28}
    assert len({a.subject for a in synadl.activities}) == 15


def test_multiples_are_of_etris_training_set() -> None:
    assert round(112_620 * 67 / 100) == ETRI_TRAIN_VIDEOS


def test_multiples_have_their_size_and_hold_one_another(large: Index) -> None:
    subsets = {n: videos(split_activities(large, f"{n}x", "train")) for n in (1, 2, 4)}
    for times, subset in subsets.items():
        assert 0 <= len(subset) - times * ETRI_TRAIN_VIDEOS < 28
    assert subsets[1] < subsets[2] < subsets[4] < videos(large.activities)


def test_no_activity_more_where_whole_ones_have_the_size(synadl: Index) -> None:
    activities = tuple(
        dataclasses.replace(activity, views=dict.fromkeys(list(activity.views)[:5], 100))
        for activity in repeated(synadl, 5).activities
    )
    kept = split_activities(dataclasses.replace(synadl, activities=activities), "1x", "train")
    assert len(videos(kept)) == ETRI_TRAIN_VIDEOS  # 5 x 15,091
    exactly = dataclasses.replace(synadl, activities=tuple(kept))
    assert split_activities(exactly, "1x", "train") == kept


def test_a_subset_depends_on_the_ids_alone(large: Index) -> None:
    """It holds all actions and characters, in the order of the index, whatever that order is."""
    subset = split_activities(large, "1x", "train")
    assert [a.position for a in subset] == sorted(a.position for a in subset)
    assert {a.label for a in subset} == set(range(55))
    assert len({a.subject for a in subset}) == 15
    reverse = dataclasses.replace(large, activities=large.activities[::-1])
    assert videos(split_activities(reverse, "1x", "train")) == videos(subset)


def test_too_few_videos_are_an_error_with_both_numbers(synadl: Index) -> None:
    assert len(videos(split_activities(synadl, "1x", "train"))) < 92_400
    with pytest.raises(InputError, match="2x trains on 150910 videos, but synadl has 92400"):
        split_activities(synadl, "2x", "train")


def test_nothing_tests_and_characters_can_validate(synadl: Index) -> None:
    with pytest.raises(InputError, match="the test split of protocol 1x of synadl is empty"):
        split_activities(synadl, "1x", "test")
    held_out = {"validation_subjects": ("101",)}
    training = split_activities(synadl, "1x", "train", **held_out)
    validation = split_activities(synadl, "1x", "validation", **held_out)
    assert {a.subject for a in validation} == {"101"}
    assert "101" not in {a.subject for a in training}
    assert videos(training) | videos(validation) == videos(split_activities(synadl, "1x", "train"))
