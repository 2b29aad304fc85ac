"""The built data set: its index of activities, and random access to its records.

DATA_DIR/<dataset>/<version>/index.json           one line per activity, in record order
DATA_DIR/<dataset>/<version>/*.array_record-*     one record per activity, all its views
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Grain has this class too, but brings jax along.
from array_record.python.array_record_data_source import ArrayRecordDataSource
from google.protobuf.message import DecodeError
from tensorflow_datasets.proto import tf_example_pb2

from mv2mae_jax.errors import InputError, is_name

# Data sets with a builder of their own; the rest are manifests.
BUILDERS = ("ntu", "etri", "synadl", "nucla", "pku_mmd2", "rocog_v2", "mannequin")

# Processes that have opened records: this one and, if it was forked, those before it. ArrayRecord's
# library starts a thread for good, whose locks a fork inherits without it: the child would hang or
# crash.
_opened_in: set[int] = set()


@dataclass(frozen=True)
class Activity:
    """One performance of an action, filmed by synchronised cameras.

    Attributes:
      position: of its record, counted over all shards.
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
    """What a built data set holds: its classes and activities, without any pixel."""

    dataset: str
    folder: Path
    classes: tuple[str, ...]
    short_side: int
    activities: tuple[Activity, ...]

    @property
    def views(self) -> tuple[str, ...]:
        """Names of all views, sorted."""
        return tuple(sorted({view for activity in self.activities for view in activity.views}))


@dataclass(frozen=True)
class Record:
    """One stored activity; `views` maps each view to its frames in order, each a JPEG."""

    id: str
    label: int
    views: Mapping[str, Sequence[bytes]]


class RecordSource:
    """Random access to the records of a built data set; can be pickled, safe in threads."""

    def __init__(self, index: Index) -> None:
        """Opens the shards.

        Raises:
          InputError: the shards do not hold as many records as the index lists; this process was
            forked off one that had opened records.
        """
        if _opened_in - {os.getpid()}:
            raise InputError(
                "records were opened before this process was forked, after which they cannot be "
                "read in it; start the processes first, or spawn them (in a DataLoader: "
                "multiprocessing_context='spawn')"
            )
        _opened_in.add(os.getpid())
        paths = [str(path) for path in shards(index.folder)]
        try:
            self._records = ArrayRecordDataSource(paths) if paths else ()
            stored = len(self._records)
        except (RuntimeError, ValueError) as error:
            raise InputError(
                f"{index.folder}: a shard is damaged ({error}); delete the data set and "
                f"{_how_to_build(index.dataset)}"
            ) from error
        if stored != len(index.activities):
            raise InputError(
                f"{index.folder} holds {stored} records but its index.json lists "
                f"{len(index.activities)}; {_how_to_build(index.dataset)}"
            )
        self._index = index

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, position: int) -> Record:
        """Reads a record.

        Raises:
          InputError: it is damaged, or not what the index says.
        """
        activity = self._index.activities[position]
        try:
            record = parse_record(self._records[position])
        except (RuntimeError, ValueError, DecodeError) as error:
            raise self._damaged(activity, error) from error
        lengths = {view: len(frames) for view, frames in record.views.items()}
        if (record.id, record.label, lengths) != (activity.id, activity.label, activity.views):
            raise self._damaged(activity, f"it is {record.id} with views of {lengths} frames")
        return record

    def _damaged(self, activity: Activity, reason: object) -> InputError:
        return InputError(
            f"{self._index.folder}: the record of activity {activity.id} is damaged ({reason}); "
            f"delete the data set and {_how_to_build(self._index.dataset)}"
        )


def parse_record(serialized: bytes) -> Record:
    """A record as TFDS wrote it (one TF Example) -> its label and the JPEGs of each view.

    Raises:
      ValueError, DecodeError: it is none.
    """
    feature = tf_example_pb2.Example.FromString(serialized).features.feature
    ids = feature["activity"].bytes_list.value
    labels = feature["label"].int64_list.value
    names = feature["views/name"].bytes_list.value
    firsts = feature["views/first"].int64_list.value
    counts = feature["views/count"].int64_list.value
    frames = feature["frames"].bytes_list.value
    if len(ids) != 1 or len(labels) != 1:
        raise ValueError(f"{len(ids)} names and {len(labels)} labels")
    if any(first < 0 or count < 0 for first, count in zip(firsts, counts, strict=True)):
        raise ValueError("a view before the first frame")
    return Record(
        id=ids[0].decode(),
        label=labels[0],
        views={
            name.decode(): frames[first : first + count]
            for name, first, count in zip(names, firsts, counts, strict=True)
        },
    )


def shards(folder: Path) -> list[Path]:
    """The files of a built data set that hold its records, in order."""
    return sorted(folder.glob("*.array_record-*"))


def find_datasets(data_dir: str | Path) -> list[str]:
    """Names of the built data sets in a directory, sorted.

    Raises:
      InputError: there is none.
    """
    found = sorted({path.parent.parent.name for path in Path(data_dir).glob("*/*/index.json")})
    if not found:
        raise InputError(f"no data set in {data_dir}; see python -m mv2mae_jax.prepare --help")
    return found


def load_index(data_dir: str | Path, dataset: str) -> Index:
    """Reads the index of the newest version of a built data set.

    Raises:
      InputError: the data set has not been built, or its index cannot be read.
    """
    folder = _newest_version(Path(data_dir) / dataset)
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
            activities=tuple(_activity(number, row, len(classes)) for number, row in activities),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path} is damaged ({type(error).__name__}: {error}); delete the data set "
            f"and {_how_to_build(dataset)}"
        ) from error


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


def _newest_version(folder: Path) -> Path:
    """The subfolder of a finished build with the highest version; unfinished ones have none."""
    try:
        indices = list(folder.glob("*/index.json"))
    except OSError as error:
        raise InputError(f"{folder} cannot be read ({error}); see config.data.data_dir") from error
    versions = {
        tuple(int(number) for number in path.parent.name.split(".")): path.parent
        for path in indices
        if re.fullmatch(r"\d+\.\d+\.\d+", path.parent.name)
    }
    if not versions:
        raise InputError(f"no data set in {folder}; {_how_to_build(folder.name, folder.parent)}")
    return versions[max(versions)]


def _how_to_build(dataset: str, data_dir: str | Path = "DIR") -> str:
    builder = dataset if dataset in BUILDERS else f"manifest --manifest FILE.csv --name {dataset}"
    return f"build it: python -m mv2mae_jax.prepare {builder} --raw-dir DIR --data-dir {data_dir}"
