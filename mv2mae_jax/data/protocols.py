"""Which activities and which views are for training, and which for testing.

A protocol is a filter of the index: one build of a data set serves all of its protocols.

    ntu         ntu60_xsub   subjects, as published with NTU RGB+D (Shahroudy et al., 2016)
                ntu60_xview  cameras 2 and 3 train, camera 1 tests
                ntu120_xsub  subjects, as published with NTU RGB+D 120 (Liu et al., 2019)
                ntu120_xset  even set-ups train, odd set-ups test
    mannequin   xview        cameras 2 and 3 train, camera 1 tests
                xsub         subjects of odd number train, of even number test
    any         xview        `test_views` test, the others train
                xsub         `test_subjects` test, the others train
                all          everything trains, nothing tests
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from mv2mae_jax.data.records import Activity, Index
from mv2mae_jax.errors import InputError

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
    """A division into training and test; `classes` keeps the first so many, `None` all."""

    train: Part
    test: Part | None
    classes: int | None = None


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
    test_views: Collection[str] = (),
    test_subjects: Collection[str] = (),
    validation_subjects: Collection[str] = (),
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

    Returns:
      In the order of the index.

    Raises:
      InputError: no such protocol or split; a view or subject that the data set does not have; an
        empty split.
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
    if not activities:
        raise InputError(f"the {split} split of protocol {protocol} of {index.folder} is empty")
    return activities


def find_protocol(
    index: Index,
    name: str,
    *,
    test_views: Collection[str] = (),
    test_subjects: Collection[str] = (),
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
            f"is one of: {', '.join(known_names)}"
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
                f"views {', '.join(index.views)}"
            )
