"""Which activities and which views are for training, and which for testing.

A protocol is a filter of the index: one build of a data set serves all of its protocols.

    ntu         ntu60_xsub   subjects, as published with NTU RGB+D (Shahroudy et al., 2016)
                ntu60_xview  cameras 2 and 3 train, camera 1 tests
                ntu120_xsub  subjects, as published with NTU RGB+D 120 (Liu et al., 2019)
                ntu120_xset  even set-ups train, odd set-ups test
    etri        xsub         subjects 3, 6, ... 99 test, the other 67 train (not confirmed: other
                             lists by `test_subjects`)
    synadl      1x, 2x, 4x   as many videos as etri's xsub trains on, or 2 or 4 times as many,
                             train; nothing tests (Figure 3)
    nucla       xview        cameras 1 and 2 train, camera 3 tests
                xsub         subject 10 tests (Siddiqui et al., 2024), the others train
    pku_mmd2    xsub         subjects 2, 3 and 7 test, the others train (Liu et al., 2017)
    rocog_v2    ground, air  real clips seen from there, subjects as published (Reddy et al., 2023)
    mannequin   xview        cameras 2 and 3 train, camera 1 tests
                xsub         subjects of odd number train, of even number test
    any         xview        `test_views` test, the others train
                xsub         `test_subjects` test, the others train
                all          everything trains, nothing tests
"""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from mv2mae_jax.data.records import Activity, Index
from mv2mae_jax.errors import InputError, did_you_mean

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Part:
    """One side of a protocol: what it admits; `None` admits everything."""

    views: frozenset[str] | None = None
    subjects: frozenset[str] | None = None
    setups: frozenset[str] | None = None

    def restrict(self, activity: Activity) -> Activity | None:
        """The activity with the admitted views only, or None if nothing of it is admitted."""
        if self.subjects is not None and activity.subject not in self.subjects:
            return None
        if self.setups is not None and activity.setup not in self.setups:
            return None
        if self.views is None:
            return activity
        views = {view: n for view, n in activity.views.items() if view in self.views}
        return replace(activity, views=views) if views else None


@dataclass(frozen=True)
class Protocol:
    """A division into training and test.

    Attributes:
      train: what trains.
      test: what tests; `None`: nothing.
      classes: keeps the first so many classes; `None`: all.
      videos: of the training part, keeps activities with so many videos; `None`: all.
    """

    train: Part
    test: Part | None
    classes: int | None = None
    videos: int | None = None


def _names(numbers: Iterable[int]) -> frozenset[str]:
    return frozenset(str(number) for number in numbers)


_NTU60_SETUPS = _names(range(1, 18))
_NTU60_SUBJECTS = _names(range(1, 41))
_NTU60_TRAIN_SUBJECTS = _names(
    (1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38)
)
_NTU120_SUBJECTS = _names(range(1, 107))
_NTU120_TRAIN_SUBJECTS = (
    _NTU60_TRAIN_SUBJECTS
    | _names((45, 46, 47, 49, 50, *range(52, 60), 70, 74, 78, *range(80, 87)))
    | _names((89, 91, 92, 93, 94, 95, 97, 98, 100, 103))
)
_ETRI_SUBJECTS = _names(range(1, 101))
_ETRI_TEST_SUBJECTS = _names(range(3, 100, 3))
ETRI_TRAIN_VIDEOS = 75_455  # 67 of 100 subjects of 112,620 videos

_PKU_SUBJECTS = _names(range(1, 14))
_PKU_TEST_SUBJECTS = _names((2, 3, 7))

_ROCOG_TRAIN_SUBJECTS = frozenset({"S01", "S02", "S03", "S05", "S07", "S08", "S10"})
_ROCOG_TEST_SUBJECTS = frozenset({"S00", "S04", "S04b", "S06", "S09"})


def _rocog(view: str) -> Protocol:
    views, setups = frozenset({view}), frozenset({"real"})
    return Protocol(
        train=Part(views, _ROCOG_TRAIN_SUBJECTS, setups),
        test=Part(views, _ROCOG_TEST_SUBJECTS, setups),
    )


PUBLISHED: Mapping[str, Mapping[str, Protocol]] = {
    "ntu": {
        "ntu60_xsub": Protocol(
            train=Part(subjects=_NTU60_TRAIN_SUBJECTS, setups=_NTU60_SETUPS),
            test=Part(subjects=_NTU60_SUBJECTS - _NTU60_TRAIN_SUBJECTS, setups=_NTU60_SETUPS),
            classes=60,
        ),
        "ntu60_xview": Protocol(
            train=Part(views=_names((2, 3)), setups=_NTU60_SETUPS),
            test=Part(views=_names((1,)), setups=_NTU60_SETUPS),
            classes=60,
        ),
        "ntu120_xsub": Protocol(
            train=Part(subjects=_NTU120_TRAIN_SUBJECTS),
            test=Part(subjects=_NTU120_SUBJECTS - _NTU120_TRAIN_SUBJECTS),
        ),
        "ntu120_xset": Protocol(
            train=Part(setups=_names(range(2, 33, 2))),
            test=Part(setups=_names(range(1, 33, 2))),
        ),
    },
    "etri": {
        "xsub": Protocol(
            train=Part(subjects=_ETRI_SUBJECTS - _ETRI_TEST_SUBJECTS),
            test=Part(subjects=_ETRI_TEST_SUBJECTS),
        ),
    },
    "synadl": {
        f"{times}x": Protocol(Part(), None, videos=times * ETRI_TRAIN_VIDEOS) for times in (1, 2, 4)
    },
    "nucla": {
        "xview": Protocol(
            train=Part(views=_names((1, 2))),
            test=Part(views=_names((3,))),
        ),
        "xsub": Protocol(
            train=Part(subjects=_names(range(1, 10))),
            test=Part(subjects=_names((10,))),
        ),
    },
    "pku_mmd2": {
        "xsub": Protocol(
            train=Part(subjects=_PKU_SUBJECTS - _PKU_TEST_SUBJECTS),
            test=Part(subjects=_PKU_TEST_SUBJECTS),
        ),
    },
    "rocog_v2": {"ground": _rocog("ground"), "air": _rocog("air")},
    "mannequin": {
        "xview": Protocol(
            train=Part(views=_names((2, 3))),
            test=Part(views=_names((1,))),
        ),
        "xsub": Protocol(
            train=Part(subjects=_names(range(1, 1000, 2))),
            test=Part(subjects=_names(range(2, 1000, 2))),
        ),
    },
}


def split_activities(
    index: Index,
    protocol: str,
    split: str,
    *,
    test_views: Collection[str | int] = (),
    test_subjects: Collection[str | int] = (),
    validation_subjects: Collection[str | int] = (),
    train_fraction: float = 1.0,
) -> list[Activity]:
    """The activities of one split, each with the views that the split may see.

    Args:
      index: of the built data set.
      protocol: name of a protocol, see the table above.
      split: train, validation or test.
      test_views: views kept for testing, for `xview` of any data set.
      test_subjects: subjects kept for testing, for `xsub` of any data set.
      validation_subjects: taken out of the training split; they form the validation split, seen
        from the training views.
      train_fraction: of the training activities of each class, at least one; fewer are among more.

    Returns:
      In the order of the index.

    Raises:
      InputError: no such protocol or split; a view or subject that the data set does not have;
        fewer videos than the protocol trains on; an empty split.
    """
    if split not in SPLITS:
        raise InputError(f"no split {split!r}; it is one of {', '.join(SPLITS)}")
    chosen = find_protocol(index, protocol, test_views=test_views, test_subjects=test_subjects)
    part = chosen.test if split == "test" else chosen.train
    activities = [
        restricted
        for activity in index.activities
        if part is not None
        and (chosen.classes is None or activity.label < chosen.classes)
        and (restricted := part.restrict(activity)) is not None
    ]
    if split != "test" and chosen.videos is not None:
        activities = _keep_videos(index, protocol, activities, chosen.videos)
    if split != "test" and validation_subjects:
        held_out = {str(subject) for subject in validation_subjects}
        if unknown := held_out - {activity.subject for activity in activities}:
            raise InputError(
                f"config.data.validation_subjects: {', '.join(sorted(unknown))} not among the "
                f"training subjects of protocol {protocol} of {index.folder}"
            )
        wanted = split == "validation"
        activities = [a for a in activities if (a.subject in held_out) == wanted]
    elif split == "validation":
        raise InputError("the validation split is empty; set config.data.validation_subjects")
    if split == "train":
        activities = _keep_fraction(activities, train_fraction)
    if not activities:
        other = (
            "; it trains on all: take xview with config.data.test_views, or xsub with "
            "config.data.test_subjects"
            if protocol == "all"
            else "; set another config.data.protocol"
        )
        raise InputError(
            f"the {split} split of protocol {protocol} of {index.folder} is empty{other}"
        )
    return activities


def _keep_videos(
    index: Index, protocol: str, activities: Sequence[Activity], videos: int
) -> list[Activity]:
    """Activities with so many videos together, or a few more: the last one is whole.

    Which ones depends on their ids alone, and those kept for fewer videos are among those for more.
    """
    held = sum(len(activity.views) for activity in activities)
    if held < videos:
        raise InputError(
            f"protocol {protocol} trains on {videos} videos, but {index.folder} has {held}; build "
            "all of the data set, or set another config.data.protocol"
        )
    drawn = sorted(activities, key=lambda a: hashed(a.id))
    ends = accumulate(len(activity.views) for activity in drawn)
    kept = {a.id for a, end in zip(drawn, ends, strict=True) if end - len(a.views) < videos}
    return [activity for activity in activities if activity.id in kept]


def _keep_fraction(activities: Sequence[Activity], fraction: float) -> list[Activity]:
    """Such a share of each class, rounded: its first activities in the order of hashed ids."""
    classes = defaultdict(list)
    for activity in sorted(activities, key=lambda a: hashed(a.id)):
        classes[activity.label].append(activity.id)
    kept = {id for ids in classes.values() for id in ids[: max(1, round(fraction * len(ids)))]}
    return [activity for activity in activities if activity.id in kept]


def hashed(name: str) -> bytes:
    """A key to sort names by: an order without meaning, the same everywhere and for ever."""
    return hashlib.sha256(name.encode()).digest()


def find_protocol(
    index: Index,
    name: str,
    *,
    test_views: Collection[str | int] = (),
    test_subjects: Collection[str | int] = (),
) -> Protocol:
    """The protocol of this name for this data set: a published one, or one made from the rest.

    Raises:
      InputError: as for `split_activities`.
    """
    published = PUBLISHED.get(index.dataset, {})
    if name in published and not test_views and not test_subjects:
        protocol = published[name]
    elif name == "xview" and test_views and not test_subjects:
        views = frozenset(map(str, test_views))
        protocol = Protocol(Part(views=frozenset(index.views) - views), Part(views=views))
    elif name == "xsub" and test_subjects and not test_views:
        subjects = frozenset(map(str, test_subjects))
        known = frozenset(activity.subject for activity in index.activities)
        if subjects - known:
            raise InputError(
                f"config.data.test_subjects: no subject {', '.join(sorted(subjects - known))} "
                f"in {index.folder}"
            )
        protocol = Protocol(Part(subjects=known - subjects), Part(subjects=subjects))
    elif name == "all" and not test_views and not test_subjects:
        protocol = Protocol(Part(), None)
    else:
        known_names = [*published, "xview (with config.data.test_views)"]
        known_names += ["xsub (with config.data.test_subjects)", "all"]
        raise InputError(
            f"no protocol {name!r} for data set {index.dataset} with test_views="
            f"{tuple(test_views)} and test_subjects={tuple(test_subjects)}; config.data.protocol "
            f"is one of: {', '.join(known_names)}{did_you_mean(name, known_names)}"
        )
    _check_views(index, name, protocol)
    return protocol


def protocol_classes(index: Index, name: str) -> tuple[str, ...]:
    """Names of the classes that a protocol tells apart: 60 for NTU-60, else all of the index."""
    published = PUBLISHED.get(index.dataset, {}).get(name)
    return index.classes[: published.classes if published else None]


def _check_views(index: Index, name: str, protocol: Protocol) -> None:
    for part in (protocol.train, protocol.test):
        absent = ((part and part.views) or frozenset()) - frozenset(index.views)
        if absent:
            raise InputError(
                f"protocol {name} needs view {', '.join(sorted(absent))}, but {index.folder} has "
                f"views {', '.join(index.views)}; build the data set with them, or set another "
                "config.data.protocol"
            )
