"""The built data set: its index of activities, and random access to its records.

DATA_DIR/<dataset>/<version>/index.json           one line per activity, in record order
DATA_DIR/<dataset>/<version>/*.array_record-*     several records per view of an activity

A clip takes every 4th frame of a view, and not of all views. So the frames of a view are dealt out
to as many records, its phases: frames 0, 4, 8, ... are one record, frames 1, 5, 9, ... the next.
A clip lies in one of them (of another stride: in several), and little else is read with it.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np

# Grain has this class too, but brings jax along.
from array_record.python.array_record_data_source import ArrayRecordDataSource
from etils import epath
from jaxtyping import Int
from tensorflow_datasets.proto import tf_example_pb2

from mv2mae_jax.data.staging import staged
from mv2mae_jax.errors import InputError, did_you_mean, is_name, one_line, reason
from mv2mae_jax.storage import to_path
from tfds_builders import BUILDERS

FIRST_VERSION = (2, 0, 0)  # of a build with such records; before, one held a whole activity

# Processes that have opened records: this one and, if it was forked, those before it. ArrayRecord's
# library starts a thread for good, whose locks a fork inherits without it: the child would hang or
# crash.
_opened_in: set[int] = set()


@dataclass(frozen=True)
class Activity:
    """One performance of an action, filmed by synchronised cameras.

    Attributes:
      position: in the index.
      id: its name in the data set, such as `S001P001R001A001`.
      label: number of its class.
      subject: who performs it; empty where unknown.
      setup: the arrangement of room and cameras; empty where unknown.
      views: name of each view and how many frames of it are stored.
    """

    position: int
    id: str
    label: int
    subject: str
    setup: str
    views: Mapping[str, int]


@dataclass(frozen=True)
class Index:
    """What a built data set holds: its classes and activities, without any pixel.

    Attributes:
      dataset: its name.
      folder: where it lies.
      classes: their names, in the order of the labels.
      short_side: of the stored frames, pixels.
      phases: records of a view (fewer, if it has fewer frames); each has every `phases`-th frame.
      activities: in the order of their records.
    """

    dataset: str
    folder: epath.Path
    classes: tuple[str, ...]
    short_side: int
    phases: int
    activities: tuple[Activity, ...]

    @property
    def views(self) -> tuple[str, ...]:
        """Names of all views, sorted."""
        return tuple(sorted({view for activity in self.activities for view in activity.views}))

    def records(self) -> Iterator[tuple[Activity, str, int]]:
        """What each record is of, in order: activity, view, and its first frame."""
        for activity in self.activities:
            for view, length in activity.views.items():
                for first in range(min(length, self.phases)):
                    yield activity, view, first

    def record_number(self, position: int, view: str, first: int) -> int:
        """The place, counted over all shards, of the record that begins with frame `first`."""
        number = self._first_records[position] + first
        for before, length in self.activities[position].views.items():
            if before == view:
                return number
            number += min(length, self.phases)
        raise KeyError(view)

    @property
    def num_records(self) -> int:
        """Of all activities."""
        return self._first_records[-1]

    @cached_property
    def _first_records(self) -> list[int]:
        """Number of the first record of each activity; of all records at the end."""
        counts = (
            sum(min(length, self.phases) for length in activity.views.values())
            for activity in self.activities
        )
        return list(accumulate(counts, initial=0))


@dataclass(frozen=True)
class Record:
    """Frames `first`, `first + step`, ... of one view of an activity, each a JPEG."""

    id: str
    label: int
    view: str
    first: int
    step: int
    frames: Sequence[bytes]


class DamagedRecord(InputError):
    """What is stored of one activity cannot be read.

    Attributes:
      activity: its name.
      reason: what is wrong with it, in a few words.
    """

    def __init__(self, activity: str, reason: str) -> None:
        super().__init__(
            f"activity {activity} cannot be read: {reason}; `python -m mv2mae_jax.prepare verify` "
            "names all that is damaged; delete the data set and build it again"
        )
        self.activity, self.reason = activity, reason

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        """So that it comes out of a worker process as it was."""
        return type(self), (self.activity, self.reason)


class RecordSource:
    """Random access to the records of a built data set; can be pickled, safe in threads."""

    def __init__(self, index: Index) -> None:
        """Opens the shards; those of a bucket are copied here first, if they are not yet.

        Raises:
          InputError: as `staged`; a shard is missing or cut off, or they do not hold as many
            records as the index lists; this process was forked off one that had opened records.
        """
        if _opened_in - {os.getpid()}:
            raise InputError(
                "records were opened before this process was forked, after which they cannot be "
                "read in it; start the processes first, or spawn them (in a DataLoader: "
                "multiprocessing_context='spawn')"
            )
        _opened_in.add(os.getpid())
        self._records = _open(shards(index.folder), index)
        if len(self._records) != index.num_records:
            raise InputError(
                f"{index.folder} holds {len(self._records)} records but its index.json lists "
                f"{index.num_records}; {_how_to_build(index.dataset)}"
            )
        self._index = index

    def frames(self, position: int, view: str, times: Int[np.ndarray, " T"]) -> dict[int, bytes]:
        """Frames of a view, read from the records that hold them and no other.

        Args:
          position: of the activity in the index.
          view: of the activity.
          times: numbers of frames of the view, in any order, maybe several times.

        Returns:
          The JPEG of each time.

        Raises:
          DamagedRecord: a record cannot be read, or is not what the index says.
        """
        wanted, step = set(times.tolist()), self._index.phases
        phases = sorted({time % step for time in wanted})
        stored = {first: self._record(position, view, first).frames for first in phases}
        return {time: stored[time % step][time // step] for time in wanted}

    def _record(self, position: int, view: str, first: int) -> Record:
        activity = self._index.activities[position]
        try:
            record = parse_record(self._records[self._index.record_number(position, view, first)])
        except Exception as error:  # the reader's and protobuf's own, of many types
            raise DamagedRecord(activity.id, reason(error)) from error
        if findings := list(differences(self._index, activity, view, first, record)):
            raise DamagedRecord(activity.id, findings[0])
        return record


def parse_record(serialized: bytes) -> Record:
    """A record as TFDS wrote it: one TF Example.

    Raises:
      ValueError, DecodeError: it is none.
    """
    feature = tf_example_pb2.Example.FromString(serialized).features.feature
    (activity,) = feature["activity"].bytes_list.value
    (view,) = feature["view"].bytes_list.value
    (label,), (first,), (step,) = (
        feature[name].int64_list.value for name in ("label", "first", "step")
    )
    frames = feature["frames"].bytes_list.value
    return Record(activity.decode(), label, view.decode(), first, step, frames)


def differences(
    index: Index, activity: Activity, view: str, first: int, record: Record
) -> Iterator[str]:
    """What of a record is not as the index says; empty if nothing is."""
    if (record.id, record.view) != (activity.id, view):
        stored = one_line(f"view {record.view} of {record.id}")
        yield f"it is {stored}, not view {view} of {activity.id}"
    if record.label != activity.label:
        yield f"its label is {record.label}, the index says {activity.label}"
    length = len(range(first, activity.views[view], index.phases))
    if (record.first, record.step, len(record.frames)) != (first, index.phases, length):
        yield (
            f"it has {len(record.frames)} frames, every {record.step}th from {record.first} on; "
            f"the index says {length}, every {index.phases}th from {first} on"
        )


def shards(folder: epath.Path) -> list[epath.Path]:
    """The files of a built data set that hold its records, in order."""
    return [path for path in _entries(folder) if ".array_record-" in path.name]


def _open(paths: Sequence[epath.Path], index: Index) -> ArrayRecordDataSource | tuple[()]:
    """All records, shard after shard; each is opened, and says how many records it holds."""
    if missing := missing_shards(paths):
        raise InputError(
            f"{index.folder} lacks {', '.join(missing)}; copy what is missing, or "
            f"{_how_to_build(index.dataset)}"
        )
    local = staged(paths)
    try:
        return ArrayRecordDataSource([str(path) for path in local]) if local else ()
    except (RuntimeError, ValueError):
        for path in local:
            try:
                ArrayRecordDataSource([str(path)])
            except (RuntimeError, ValueError) as error:
                raise InputError(
                    f"{path} is cut off or damaged ({reason(error)}); copy it again, or "
                    f"{_how_to_build(index.dataset)}"
                ) from error
        raise


def missing_shards(paths: Sequence[epath.Path]) -> list[str]:
    """Names of shards that are not there, of as many as the first one's name says there are."""
    named = re.fullmatch(r"(.*)-\d+-of-(\d+)", paths[0].name) if paths else None
    if named is None:
        return []
    every = [f"{named[1]}-{number:05}-of-{named[2]}" for number in range(int(named[2]))]
    there = {path.name for path in paths}
    return [name for name in every if name not in there]


def find_datasets(data_dir: epath.PathLike) -> list[str]:
    """Names of the built data sets in a directory, sorted.

    Raises:
      InputError: there is none.
    """
    found = [folder.name for folder in _entries(to_path(data_dir)) if _versions(folder)]
    if not found:
        raise InputError(f"no data set in {data_dir}; see python -m mv2mae_jax.prepare --help")
    return found


def is_built(data_dir: epath.PathLike, dataset: str) -> bool:
    """Whether a data set has a finished build."""
    return bool(_versions(to_path(data_dir) / dataset))


def load_index(data_dir: epath.PathLike, dataset: str) -> Index:
    """Reads the index of the newest version of a built data set.

    Raises:
      InputError: the data set has not been built, or its index cannot be read.
    """
    folder = _newest_version(to_path(data_dir) / dataset)
    if _version(folder) < FIRST_VERSION:
        raise InputError(
            f"{folder} has records of an older layout, which is not read any more; "
            f"{_how_to_build(dataset, folder.parents[1])}, then delete it"
        )
    path = folder / "index.json"
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        classes = tuple(_text("class", name) for name in stored["classes"])
        activities = enumerate(stored["activities"])
        return Index(
            dataset=dataset,
            folder=folder,
            classes=classes,
            short_side=_whole("short_side", stored["short_side"], 1),
            phases=_whole("phases", stored["phases"], 1, 1025),
            activities=tuple(_activity(number, row, len(classes)) for number, row in activities),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path} is damaged ({type(error).__name__}: {error}); delete the data set "
            f"and {_how_to_build(dataset)}"
        ) from error


def fingerprint(data_dir: epath.PathLike, dataset: str) -> str:
    """Tells built data sets apart: by the text of the index, and the names and sizes of the shards.

    Raises:
      InputError: the data set has not been built.
    """
    folder = _newest_version(to_path(data_dir) / dataset)
    sizes = [(path.name, path.stat().length) for path in shards(folder)]
    text = (folder / "index.json").read_bytes() + repr(sizes).encode()
    return hashlib.sha256(text).hexdigest()


def _activity(position: int, row: Mapping[str, Any], classes: int) -> Activity:
    """An entry of `activities` in index.json."""
    if not row["views"]:
        raise ValueError(f"activity {row['id']!r} has no views")
    return Activity(
        position=position,
        id=_text("id", row["id"]),
        label=_whole("label", row["label"], 0, classes),
        subject=_text("subject", row["subject"]),
        setup=_text("setup", row["setup"]),
        views={_text("view", name): _whole("view", n, 1) for name, n in row["views"].items()},
    )


def _text(field: str, value: object) -> str:
    if not is_name(value):
        raise ValueError(f"{field} {value!r} is no name")
    return value


def _whole(field: str, value: object, least: int, below: int = 2**31) -> int:
    if type(value) is not int or not least <= value < below:
        raise ValueError(f"{field} {value!r} is not a whole number from {least} to {below - 1}")
    return value


def _newest_version(folder: epath.Path) -> epath.Path:
    """The subfolder of a finished build with the highest version."""
    versions = _versions(folder)
    if not versions:
        others = (other.name for other in _entries(folder.parent) if _versions(other))
        raise InputError(
            f"no data set in {folder}; {_how_to_build(folder.name, folder.parent)}"
            + did_you_mean(folder.name, others)
        )
    return versions[max(versions)]


def _versions(folder: epath.Path) -> dict[tuple[int, ...], epath.Path]:
    """The subfolders of finished builds; unfinished ones have no index."""
    return {
        _version(path): path
        for path in _entries(folder)
        if re.fullmatch(r"\d+\.\d+\.\d+", path.name) and (path / "index.json").exists()
    }


def _version(folder: epath.Path) -> tuple[int, ...]:
    return tuple(int(number) for number in folder.name.split("."))


def _entries(folder: epath.Path) -> list[epath.Path]:
    """What is in a folder, sorted; nothing if it is not there. Names may be patterns of a glob."""
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _how_to_build(dataset: str, data_dir: epath.PathLike = "DIR") -> str:
    builder = dataset if dataset in BUILDERS else f"manifest --manifest FILE.csv --name {dataset}"
    return f"build it: python -m mv2mae_jax.prepare {builder} --raw-dir DIR --data-dir {data_dir}"
