"""The published counts, no leak from test to training, and the messages for what cannot be."""

from collections import Counter
from dataclasses import replace

import pytest
from etils import epath
from hypothesis import given, settings
from hypothesis import strategies as st
from indices import split_subjects, split_videos, videos

from mv2mae_jax.data.protocols import PUBLISHED, protocol_classes, split_activities
from mv2mae_jax.data.records import Activity, Index
from mv2mae_jax.errors import InputError

# Who was filmed in which set-up, as the official names of the files have it. In each, everybody
# does every action twice before all three cameras: actions 1-60 up to set-up 17, 61-120 after.
SUBJECTS_OF_SETUP = {
    1: "1 2 3 4 5 6 7 8",
    2: "3 7 8 9 10 11 12 13 14",
    3: "1 2 7 8 15 16 17 18 19",
    4: "3 7 8 20",
    5: "4 10 13 15 16 17 18 21",
    6: "1 7 8 15 16 17 19 22 23 24",
    7: "1 7 8 15 16 17 18 19 25 26 27 28",
    8: "1 7 8 15 19 25 29 30 31 32 33 34 35 36",
    9: "7 8 15 16 17 19 25",
    10: "7 8 13 15 16 17 18 19 21 25",
    11: "1 2 7 8 15 16 17 18 19 25 27 28 38",
    12: "7 8 15 16 17 18 19 25 27 28 37",
    13: "7 8 15 16 17 18 19 25 27 28 37",
    14: "7 8 15 17 19 25 27 37 39",
    15: "7 8 15 16 17 19 25 37",
    16: "7 8 19 21 25 39 40",
    17: "3 7 8 9 15 16 17 20",
    18: "8 41 42 43 44 45",
    19: "8 41 42 46 47 48 49 50 51",
    20: "8 41 43 44 52 53 54",
    21: "55 56 57 58 59 60",
    22: "61 62 63 64 65 66 67",
    23: "55 56 57 58 59 60 61 62 63 64 65 66 67 68",
    24: "57 60 61 62 63 64 67",
    25: "55 56 58 59 65 66 68",
    26: "8 41 44 49 50 51 69 70 71 72 74 75 76 77",
    27: "6 8 11 41 43 44 78 79 80 81 82 83 84 85 86",
    28: "8 41 42 43 46 48 70 73 87",
    29: "6 8 41 43 44 48 49 51 67 74 75 80 88 89 90",
    30: "8 11 41 43 44 48 67 75 76 81 85 88 91 92 93 94 95 96",
    31: "6 8 41 42 43 44 51 67 82 85 96 97 98 99 100 101",
    32: "8 41 43 44 67 102 103 104 105 106",
}


# Who trains in cross-subject protocols, as published; lists of others can have as many videos.
NTU60_TRAINS = "1 2 4 5 8 9 13 14 15 16 17 18 19 25 27 28 31 34 35 38"
NTU120_TRAINS = (
    f"{NTU60_TRAINS} 45 46 47 49 50 52 53 54 55 56 57 58 59 70 74 78 80 81 82 83 84 85 86 89 91 92 "
    "93 94 95 97 98 100 103"
)


@pytest.fixture(scope="module")
def ntu():
    activities = []
    for setup, subjects in SUBJECTS_OF_SETUP.items():
        for subject in map(int, subjects.split()):
            for repeat in (1, 2):
                for action in range(1, 61) if setup <= 17 else range(61, 121):
                    activities.append(
                        Activity(
                            position=len(activities),
                            id=f"S{setup:03}P{subject:03}R{repeat:03}A{action:03}",
                            label=action - 1,
                            subject=str(subject),
                            setup=str(setup),
                            views={"1": 100, "2": 100, "3": 100},
                        )
                    )
    classes = tuple(f"class {n}" for n in range(120))
    return Index("ntu", epath.Path("ntu/1.0.0"), classes, 144, 4, tuple(activities))


def test_the_full_list_has_the_published_size(ntu):
    assert len(videos(ntu.activities)) == 114_480
    assert len(videos(a for a in ntu.activities if int(a.setup) <= 17)) == 56_880
    assert len({a.subject for a in ntu.activities}) == 106


@pytest.mark.parametrize(
    ("protocol", "train", "test", "classes"),
    [
        ("ntu60_xsub", 40_320, 16_560, 60),
        ("ntu60_xview", 37_920, 18_960, 60),
        ("ntu120_xsub", 63_360, 51_120, 120),
        ("ntu120_xset", 54_720, 59_760, 120),
    ],
)
def test_published_counts_of_videos(ntu, protocol, train, test, classes):
    training = videos(split_activities(ntu, protocol, "train"))
    testing = videos(split_activities(ntu, protocol, "test"))
    assert (len(training), len(testing)) == (train, test)
    assert not training & testing
    assert len(protocol_classes(ntu, protocol)) == classes


@pytest.mark.parametrize(("protocol", "split"), [("ntu60_xsub", "train"), ("ntu60_xview", "test")])
def test_set_ups_of_ntu120_alone_are_not_of_ntu60(ntu, protocol, split):
    """Whatever action they may show."""
    filmed = [replace(ntu.activities[0], setup=str(setup)) for setup in (1, 17, 18, 32)]
    kept = split_activities(replace(ntu, activities=tuple(filmed)), protocol, split)
    assert [activity.setup for activity in kept] == ["1", "17"]


def test_no_leak_across_views(ntu):
    for split in ("train", "validation"):
        activities = split_activities(ntu, "ntu60_xview", split, validation_subjects=("7", "8"))
        assert {view for a in activities for view in a.views} == {"2", "3"}
    assert {v for a in split_activities(ntu, "ntu60_xview", "test") for v in a.views} == {"1"}


@pytest.mark.parametrize("protocol", ["ntu60_xsub", "ntu120_xsub"])
def test_no_leak_across_subjects(ntu, protocol):
    splits = {
        split: {a.subject for a in split_activities(ntu, protocol, split, **held_out)}
        for split in ("train", "validation", "test")
        for held_out in [{"validation_subjects": ("1", "38")}]
    }
    assert splits["validation"] == {"1", "38"}
    assert not splits["train"] & splits["test"]
    assert not splits["train"] & splits["validation"]
    assert splits["train"] | splits["validation"] == set().union(
        {a.subject for a in split_activities(ntu, protocol, "train")}
    )


def test_a_fraction_of_the_training_activities_of_every_class(ntu):
    held_out = {"validation_subjects": ("1", "38")}
    whole = split_activities(ntu, "ntu60_xview", "train", **held_out)
    per_class = len(whole) // 60
    previous: set = set()
    for fraction, count in ((1e-6, 1), (0.1, round(0.1 * per_class)), (0.25, round(per_class / 4))):
        kept = split_activities(ntu, "ntu60_xview", "train", train_fraction=fraction, **held_out)
        assert Counter(a.label for a in kept) == dict.fromkeys(range(60), count)
        assert all(set(a.views) == {"2", "3"} for a in kept)  # all views of an activity together
        assert previous < videos(kept) < videos(whole)  # 10 % is within 25 %
        previous = videos(kept)
    assert split_activities(ntu, "ntu60_xview", "train", train_fraction=1.0, **held_out) == whole
    for split in ("validation", "test"):
        untouched = split_activities(ntu, "ntu60_xview", split, **held_out)
        fewer = split_activities(ntu, "ntu60_xview", split, train_fraction=0.1, **held_out)
        assert fewer == untouched


def test_which_activities_a_fraction_keeps_depends_on_their_ids_alone(ntu):
    kept = split_activities(ntu, "ntu60_xsub", "train", train_fraction=0.1)
    turned = replace(ntu, activities=ntu.activities[::-1])
    assert videos(split_activities(turned, "ntu60_xsub", "train", train_fraction=0.1)) == videos(
        kept
    )


def test_which_activities_a_fraction_keeps_stays(ntu):
    """A run that goes on, or is repeated, trains on the same."""
    kept = split_activities(ntu, "ntu60_xsub", "train", train_fraction=0.005)
    first = [a.id for a in kept if a.label < 3]  # by SHA-256 of the ids
    assert first == ["S005P016R001A001", "S011P015R002A003", "S011P028R002A002"]


@pytest.mark.parametrize(
    ("protocol", "trains", "subjects"),
    [("ntu60_xsub", NTU60_TRAINS, 40), ("ntu120_xsub", NTU120_TRAINS, 106)],
)
def test_subjects_that_train_are_those_published(ntu, protocol, trains, subjects):
    training, testing = split_subjects(ntu, protocol)
    assert training == set(trains.split())
    assert testing == {str(n) for n in range(1, subjects + 1)} - training


@pytest.mark.parametrize(
    ("dataset", "protocol", "field", "number"),
    [
        ("ntu", "ntu60_xsub", "subjects", 40),
        ("ntu", "ntu120_xsub", "subjects", 106),
        ("ntu", "ntu120_xset", "setups", 32),
        ("etri", "xsub", "subjects", 100),
        ("nucla", "xsub", "subjects", 10),
        ("pku_mmd2", "xsub", "subjects", 13),
    ],
)
def test_everyone_is_trained_on_or_tested_and_none_is_both(dataset, protocol, field, number):
    published = PUBLISHED[dataset][protocol]
    train, test = (getattr(part, field) for part in (published.train, published.test))
    assert train | test == {str(n) for n in range(1, number + 1)}
    assert not train & test


def test_setups_of_xset_are_even_and_odd(ntu):
    assert {int(a.setup) % 2 for a in split_activities(ntu, "ntu120_xset", "train")} == {0}
    assert {int(a.setup) % 2 for a in split_activities(ntu, "ntu120_xset", "test")} == {1}


@pytest.mark.parametrize("protocol", ["ntu60_xsub", "ntu60_xview"])
def test_ntu60_has_no_class_after_the_60th(ntu, protocol):
    others = [replace(a, id=f"61st of {a.id}", label=60) for a in ntu.activities[:960:60]]
    assert {a.setup for a in others} == {"1"}
    more = replace(ntu, activities=(*ntu.activities, *others))
    assert split_videos(more, protocol) == split_videos(ntu, protocol)


def index_of(dataset, activities):
    return Index(dataset, epath.Path(dataset), ("bow", "wave"), 144, 4, tuple(activities))


def activity(position, subject, views):
    return Activity(position, f"a{position}", position % 2, subject, "1", dict.fromkeys(views, 9))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.sets(st.sampled_from("1234"), min_size=1)),
        min_size=6,
        max_size=20,
    ),
    st.data(),
)
def test_splits_of_ones_own_data_are_disjoint_and_complete(drawn, data):
    index = index_of("own", [activity(n, s, v) for n, (s, v) in enumerate(drawn)])
    protocol = data.draw(st.sampled_from(["xview", "xsub"]))
    names = index.views if protocol == "xview" else sorted({s for s, _ in drawn})
    held_out = data.draw(st.sets(st.sampled_from(names), min_size=1))
    given_names = {"test_views" if protocol == "xview" else "test_subjects": tuple(held_out)}
    try:
        training = videos(split_activities(index, protocol, "train", **given_names))
    except InputError:
        assert held_out == set(names)  # nothing left to train on
        return
    testing = videos(split_activities(index, protocol, "test", **given_names))
    assert not training & testing
    assert training | testing == videos(index.activities)
    of = {a.id: a.subject for a in index.activities}
    tested = {view if protocol == "xview" else of[name] for name, view in testing}
    trained = {view if protocol == "xview" else of[name] for name, view in training}
    assert tested == held_out and not trained & held_out


def test_protocols_of_the_mannequin():
    activities = [activity(n, str(n), "123") for n in range(1, 7)]
    index = index_of("mannequin", activities)
    assert {v for a in split_activities(index, "xview", "test") for v in a.views} == {"1"}
    assert {v for a in split_activities(index, "xview", "train") for v in a.views} == {"2", "3"}
    assert [a.subject for a in split_activities(index, "xsub", "train")] == ["1", "3", "5"]
    assert [a.subject for a in split_activities(index, "xsub", "test")] == ["2", "4", "6"]
    other = split_activities(index, "xview", "test", test_views=("3",))
    assert {v for a in other for v in a.views} == {"3"}


def test_subjects_and_views_may_be_numbers_as_on_the_command_line():
    index = index_of("own", [activity(n, str(n), "123") for n in range(1, 5)])
    assert split_subjects(index, "xsub", test_subjects=(3,)) == ({"1", "2", "4"}, {"3"})
    training, testing = split_videos(index, "xview", test_views=(2, 3))
    assert {view for _, view in training} == {"1"} and {view for _, view in testing} == {"2", "3"}
    held_out = {
        split: {a.subject for a in split_activities(index, "all", split, validation_subjects=(3,))}
        for split in ("train", "validation")
    }
    assert held_out == {"train": {"1", "2", "4"}, "validation": {"3"}}


def test_all_trains_on_everything_and_keeps_the_order():
    activities = tuple(activity(n, "a", "12") for n in range(5))
    index = index_of("own", activities)
    assert split_activities(index, "all", "train") == list(activities)


@pytest.mark.parametrize(
    ("protocol", "split", "arguments", "message"),
    [
        ("ntu60_xsub", "train", {}, r"no protocol 'ntu60_xsub'.*xview.*xsub.*all"),
        ("xview", "train", {}, "test_views"),
        ("xview", "train", {"test_views": ("9",)}, "needs view 9.*has views 1, 2"),
        ("xsub", "test", {"test_subjects": ("zoe",)}, "no subject zoe"),
        ("xsub", "train", {"test_subjects": ("a", "b")}, "train split.*is empty"),
        ("all", "test", {}, "protocol all.*is empty; it trains on all: take xview"),
        ("all", "validation", {}, "set config.data.validation_subjects"),
        ("all", "train", {"validation_subjects": ("zoe",)}, "validation_subjects: zoe"),
        ("all", "train", {"test_views": ("1",)}, "no protocol 'all'.*with test_views"),
        ("all", "train", {"test_subjects": ("a",)}, "no protocol 'all'"),
        ("xview", "train", {"test_views": ("1",), "test_subjects": ("a",)}, "no protocol 'xview'"),
        ("xsub", "train", {"test_views": ("1",), "test_subjects": ("a",)}, "no protocol 'xsub'"),
        ("all", "dev", {}, "train, validation, test"),
    ],
)
def test_what_cannot_be_is_an_input_error(protocol, split, arguments, message):
    index = index_of("own", [activity(0, "a", "12"), activity(1, "b", "12")])
    with pytest.raises(InputError, match=message) as error:
        split_activities(index, protocol, split, **arguments)
    assert "\n" not in str(error.value)


def test_a_published_protocol_needs_its_views():
    index = index_of("ntu", [activity(0, "1", "12")])
    with pytest.raises(InputError, match="ntu60_xview needs view 3"):
        split_activities(index, "ntu60_xview", "train")
    assert set(PUBLISHED["ntu"]) == {"ntu60_xsub", "ntu60_xview", "ntu120_xsub", "ntu120_xset"}
