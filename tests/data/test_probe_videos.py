"""Probe videos: never of the test split, apart by activity and subject, balanced, fixed."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.base import get_config
from mv2mae_jax.data.probe_videos import balanced, set_aside, training_videos
from mv2mae_jax.data.records import Activity
from mv2mae_jax.data.samples import Video
from mv2mae_jax.data.splits import split_videos


def video(number: int, label: int, subject: str, view: str = "1") -> Video:
    return Video(Activity(number, f"a{number}", label, subject, "", {"1": 9, "2": 9}), view)


def both_views(labels_and_subjects: list[tuple[int, str]]) -> list[Video]:
    return [
        video(number, label, subject, view)
        for number, (label, subject) in enumerate(labels_and_subjects)
        for view in "12"
    ]


def names(videos: list[Video]) -> set[tuple[str, str]]:
    return {(video.activity.id, video.view) for video in videos}


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["", "x", "y", "z"])), min_size=1),
    st.floats(0.01, 0.99),
)
def test_what_is_set_aside_is_of_other_activities_and_subjects(drawn, share):
    videos = both_views(drawn)
    stay, aside = set_aside(videos, share)
    assert names(stay) | names(aside) == names(videos) and len(stay) + len(aside) == len(videos)
    assert not {v.activity.id for v in stay} & {v.activity.id for v in aside}
    subjects = {subject for _, subject in drawn}
    if "" not in subjects and len(subjects) > 1:
        assert not {v.activity.subject for v in stay} & {v.activity.subject for v in aside}
        assert stay and aside
    else:  # every class stays, and of two activities or more one is set aside
        activities = Counter(label for label, _ in drawn)
        assert {v.activity.label for v in stay} == set(activities)
        several = {label for label, count in activities.items() if count > 1}
        assert {v.activity.label for v in aside} == several


def test_shares():
    subjects = both_views([(0, str(n)) for n in range(9)])
    assert len(set_aside(subjects, 1 / 3)[1]) == 6
    unknown = both_views([(n % 2, "") for n in range(24)])
    stay, aside = set_aside(unknown, 1 / 3)
    assert Counter(v.activity.label for v in aside) == {0: 8, 1: 8}
    assert Counter(v.activity.label for v in stay) == {0: 16, 1: 16}


def test_balanced_takes_turns_and_smaller_choices_are_within_larger():
    videos = both_views([(0, "")] * 30 + [(1, "")] * 5 + [(2, "")])
    chosen = balanced(videos, 12)
    assert Counter(v.activity.label for v in chosen) == {0: 5, 1: 5, 2: 2}
    assert names(balanced(videos, 5)) < names(chosen)
    assert balanced(videos[::-1], 12) == chosen  # the order of the list does not matter
    assert names(balanced(videos, 1000)) == names(videos)
    positions = [v.activity.position for v in chosen]
    assert positions == sorted(positions)


@pytest.fixture
def mannequin(mannequin_dir: Path):
    config = get_config()
    config.data.data_dir, config.data.dataset = str(mannequin_dir), "mannequin"
    return config


@pytest.mark.parametrize("protocol", ["xview", "xsub"])
def test_the_test_split_takes_no_part(mannequin, protocol):
    mannequin.data.protocol = protocol
    train, test = training_videos(mannequin)
    assert not {v.activity.id for v in train} & {v.activity.id for v in test}
    seen = [*train, *test]
    if protocol == "xview":
        assert {v.view for v in seen} == {"2", "3"}
        assert {v.activity.subject for v in train} != {v.activity.subject for v in test}
        assert len(train) == len(test) == 24  # two subjects, one each: what there is
    else:
        assert {v.activity.subject for v in seen} == {"1"}
    mannequin.probe.train_videos, mannequin.probe.test_videos = 12, 6
    train, test = training_videos(mannequin)
    if protocol == "xview":
        assert len(train) == 12 and len(test) == 6
        assert len({v.activity.label for v in train}) == 12


def test_what_is_scored_is_of_classes_that_are_fitted(mannequin):
    mannequin.data.protocol, mannequin.probe.train_videos = "xview", 5
    train, test = training_videos(mannequin)
    classes = {v.activity.label for v in train}
    assert len(train) == len(classes) == 5  # of twelve
    assert {v.activity.label for v in test} == classes


def test_fields_of_the_config_make_the_split(mannequin):
    """Of a data set that has published subjects too, one's own are taken."""
    mannequin.data.protocol, mannequin.data.test_subjects = "xsub", ("1",)
    assert {v.activity.subject for v in split_videos(mannequin, "test")} == {"1"}
    assert {v.activity.subject for v in split_videos(mannequin, "train")} == {"2"}
    mannequin.data.protocol, mannequin.data.test_subjects = "xview", ()
    mannequin.data.test_views = ("3",)
    assert {v.view for v in split_videos(mannequin, "test")} == {"3"}


def test_the_validation_split_is_scored_where_there_is_one(mannequin):
    mannequin.data.protocol, mannequin.data.validation_subjects = "xview", ("2",)
    train, test = training_videos(mannequin)
    assert {v.activity.subject for v in train} == {"1"}
    assert {v.activity.subject for v in test} == {"2"}
    assert {v.view for v in test} == {"2", "3"}
