"""ETRI's names, and its cross-subject protocol."""

from pathlib import Path

import pytest
from indices import index_of, split_subjects, split_videos

from mv2mae_jax.data.records import Index
from tfds_builders.etri import layout
from tfds_builders.manifest import Row


@pytest.fixture(scope="module")
def etri() -> Index:
    """All actions of all subjects before all cameras at one place.

    The 112,620 videos are not a full grid: which places each subject acted at is not published.
    """
    names = [
        f"P{first:03}-P{first + 9:03}/P{p:03}/A{a:03}_P{p:03}_G001_C{c:03}.mp4"
        for first in range(1, 101, 10)
        for p in range(first, first + 10)
        for a in range(1, 56)
        for c in range(1, 9)
    ]
    manifest = layout.read(Path("raw"), names)
    assert manifest.unused == () and len(manifest.rows) == 44_000
    return index_of("etri", manifest)


def test_class_names_are_the_official_ones() -> None:
    assert len(layout.CLASSES) == len(set(layout.CLASSES)) == 55
    official = {
        1: "eating food with a fork",
        5: "putting food in the fridge/taking food from the fridge",
        30: "looking around for something",
        50: "flapping a hand up and down (beckoning)",
        55: "lying down",
    }
    assert {number: layout.CLASSES[number - 1] for number in official} == official


def test_a_name_says_everything() -> None:
    path = "P031-P040/P040/A053_P040_G002_C008.mp4"
    assert layout.read(Path("raw"), [path]).rows == (
        Row("A053P040G002", "8", path, "fallen on the floor", subject="40"),
    )


def test_what_is_not_of_this_data_set_is_named() -> None:
    names = ["A001_P001_G001_C001.mp4", "A056_P001_G001_C001.mp4", "A001_P101_G001_C001.avi"]
    manifest = layout.read(Path("raw"), names)
    reasons = {item.path: item.reason for item in manifest.unused}
    assert reasons == {
        names[1]: "there is no action 56",
        names[2]: "subject 101 is not of this data set",
    }


def test_every_activity_has_eight_views(etri: Index) -> None:
    assert {tuple(a.views) for a in etri.activities} == {tuple("12345678")}
    assert len(etri.activities) == 5_500


def test_subjects_that_are_multiples_of_three_test(etri: Index) -> None:
    training, testing = split_subjects(etri, "xsub")
    assert testing == {str(subject) for subject in range(3, 100, 3)}
    assert (len(training), len(testing)) == (67, 33)
    assert sum(map(len, split_videos(etri, "xsub"))) == 44_000


def test_another_list_of_test_subjects_can_be_given(etri: Index) -> None:
    others = tuple(str(subject) for subject in range(60, 80))
    training, testing = split_subjects(etri, "xsub", test_subjects=others)
    assert testing == set(others) and len(training) == 80
