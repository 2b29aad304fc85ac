"""NUCLA's names, and the published counts on names that have all of its published numbers."""

from collections import Counter
from pathlib import Path

import pytest
from indices import index_of, split_subjects, split_videos, videos

from mv2mae_jax.data.protocols import split_activities
from mv2mae_jax.data.records import Index
from tfds_builders.manifest import Row
from tfds_builders.nucla import layout


def all_names() -> list[str]:
    """1,475 names: the incomplete activities are the real ones, the complete ones a choice.

    nucla_incomplete.txt has a line per action: its number of videos, and the activities that lack a
    view, with the views that there are. How the other activities are spread over subjects is not
    published, but for the 147 videos of subject 10.
    """
    names = []
    lines = Path(__file__).with_name("nucla_incomplete.txt").read_text().splitlines()
    for number, line in enumerate(lines):
        action, count, *incomplete = line.split()
        views = dict(entry.split(":") for entry in incomplete)
        missing = (int(count) - sum(map(len, views.values()))) // 3
        of_subject_10 = 5 if number < 3 else 4
        for subject, wanted in (("10", of_subject_10), ("01", missing - of_subject_10)):
            free = (f"s{subject}_e{n:02}" for n in range(100))
            chosen = (activity for activity in free if activity not in views)
            views |= {next(chosen): "123" for _ in range(wanted)}
        names += [
            f"multiview_action_videos/{action}/v0{view}_{activity}.avi"
            for activity, present in views.items()
            for view in present
        ]
    return names


@pytest.fixture(scope="module")
def nucla() -> Index:
    manifest = layout.read(Path("raw"), all_names())
    assert manifest.unused == () and len(manifest.rows) == 1_475
    return index_of("nucla", manifest)


def test_class_names_skip_numbers() -> None:
    assert {number: layout.CLASSES.index(name) for number, name in layout.ACTIONS.items()} == {
        **{1: 0, 2: 1, 3: 2, 4: 3, 5: 4, 6: 5},
        **{8: 6, 9: 7, 11: 8, 12: 9},
    }
    assert layout.ACTIONS[1] == "pick up with one hand"
    assert layout.ACTIONS[8] == "donning" and layout.ACTIONS[12] == "carry"


def test_the_folder_is_part_of_the_name() -> None:
    paths = ["x/a01/v02_s10_e05.avi", "x/a12/v02_s10_e05.avi"]
    assert layout.read(Path("raw"), paths).rows == (
        Row("a01_s10_e05", "2", paths[0], "pick up with one hand", subject="10"),
        Row("a12_s10_e05", "2", paths[1], "carry", subject="10"),
    )
    without = layout.read(Path("raw"), [*paths, "v02_s10_e05.avi", "a07/v01_s01_e00.avi"])
    assert [item.reason for item in without.unused] == [
        "its name is not like a01/v01_s01_e00.avi",
        "there is no action 7",
    ]


def test_activities_of_one_and_two_views_are_kept(nucla: Index) -> None:
    assert Counter(len(a.views) for a in nucla.activities) == {3: 418, 2: 91, 1: 39}
    assert Counter(view for _, view in videos(nucla.activities)) == {"1": 514, "2": 501, "3": 460}
    per_class = Counter(a.label for a in nucla.activities for _ in a.views)
    assert [per_class[n] for n in range(10)] == [148, 146, 140, 173, 148, 149, 142, 142, 145, 142]


def test_the_third_camera_tests(nucla: Index) -> None:
    training, testing = split_videos(nucla, "xview")
    assert (len(training), len(testing)) == (1_015, 460)
    assert {view for _, view in testing} == {"3"}
    for split in ("train", "validation"):
        activities = split_activities(nucla, "xview", split, validation_subjects=("5", "6"))
        assert {view for _, view in videos(activities)} == {"1", "2"}


def test_the_tenth_subject_tests(nucla: Index) -> None:
    training, testing = split_videos(nucla, "xsub")
    assert (len(training), len(testing)) == (1_328, 147)
    assert split_subjects(nucla, "xsub")[1] == {"10"}
