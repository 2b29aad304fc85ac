"""The builder that all data sets share: manifest in, records, index and report out.

A data set adds a folder with a `Builder` whose `manifest` reads its raw layout; the folder is laid
out as TFDS expects, so TFDS's own tools find it too.
"""

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core import writer
from tensorflow_datasets.proto import tf_example_pb2
from tqdm import tqdm

from mv2mae_jax.errors import InputError
from mv2mae_jax.processes import take_lock, usable_cores
from tfds_builders import MAX_BROKEN, QUALITY, SHORT_SIDE, encoding, files
from tfds_builders.layouts import is_video
from tfds_builders.manifest import Manifest, Row
from tfds_builders.report import Prediction, Report, size, summarize

SPLIT = "all"  # one export per data set: protocols are filters of the index, not splits
SHARD_BYTES = 256 << 20  # a shard is in memory while it is written
PHASES = 4  # records of a view; clips take every 4th frame (configs/base.py), so one of them
SAMPLE = 16  # activities that a prediction rests on, at most


@dataclasses.dataclass
class _Effort:
    """What a builder has encoded so far, for a prediction or a build, and how long it took."""

    activities: int = 0  # without those that have a broken video
    frames: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        return self.frames / self.seconds if self.frames else 0.0


class MultiViewBuilder(tfds.core.ShardBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Builds the records of a data set: each has every 4th frame of one view of an activity.

    Records keep the order of the manifest. (TFDS's other builders, `GeneratorBasedBuilder`, hold
    a whole unshuffled data set in memory to put it in order.)
    """

    VERSION = tfds.core.Version("2.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = "See docs/datasets.md."
    PATHS_TELL = False  # which video a row means; else its name does, in whatever folder it is

    def __init__(
        self,
        *,
        raw_dir: str | os.PathLike[str] | None = None,
        short_side: int = SHORT_SIDE,
        quality: int = QUALITY,
        jobs: int | None = None,
        max_broken: float = MAX_BROKEN,
        beam_options: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Makes a builder; `build` builds.

        Args:
          raw_dir: where the videos are; None: TFDS's directory for manual downloads.
          short_side: of the stored frames, in pixels; smaller videos keep their size.
          quality: of the JPEGs, 1 to 100.
          jobs: processes that decode; None: as many as the cores it may use.
          max_broken: fraction of the videos that may be broken without failing the build.
          beam_options: of an Apache Beam pipeline that decodes instead of `jobs` processes here.
          **kwargs: TFDS's own, `data_dir` before all.

        Raises:
          InputError: Apache Beam is asked for and not installed, or has no such options.
        """
        self.raw_dir = None if raw_dir is None else Path(raw_dir)
        self.settings = encoding.Settings(short_side, quality)
        self.jobs = jobs or usable_cores()
        self.max_broken = max_broken
        self.report: Report | None = None
        self._effort = _Effort()
        super().__init__(file_format="array_record", **kwargs)
        self._encode_here = functools.partial(encoding.encode_activities, jobs=self.jobs)
        self._encode_all = self._encode_here
        if beam_options is not None:
            from tfds_builders import distributed

            self._encode_all = functools.partial(
                distributed.encode_activities,
                folder=self._cache,
                options=distributed.parse_options(beam_options),
            )

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; a label is a position in this list."""
        raise NotImplementedError

    def manifest(self, raw_dir: Path) -> Manifest:
        """Reads the raw layout: all that a data set has to define, apart from its classes."""
        raise NotImplementedError

    def make_videos(self, raw_dir: Path) -> None:
        """Makes those that are missing, where a data set's own can be made; else does nothing."""

    @property
    def made_with(self) -> dict[str, Any]:
        """Options that videos are made with, which neither their names nor their files tell."""
        return {}

    def predict(self) -> Prediction | None:
        """Encodes a sample of the activities, which the build then need not do again.

        Returns:
          What the build will take, or None if the data set is complete already.

        Raises:
          InputError: as `build`, or the disk is too small.
        """
        if self._is_complete():
            return None
        assert self.raw_dir is not None
        with self._lock():
            self.make_videos(self.raw_dir)
            manifest = self.manifest(self.raw_dir)
            activities = manifest.activities()
            paths = self._paths(activities, self.raw_dir)
            encoded = _load_encoded(paths)
            positions = range(0, len(activities), math.ceil(len(activities) / SAMPLE))
            todo = {i: (paths[i], activities[i]) for i in positions if i not in encoded}
            encoded |= self._encode(todo, self.raw_dir, self._encode_here)
            sample = {i: encoded[i] for i in positions}
        views = sum(len(activities[i]) for i in sample)
        left = len(manifest.rows) - sum(len(activities[i]) for i in encoded)
        prediction = Prediction(
            activities=len(activities),
            videos=len(manifest.rows),
            sampled=len(sample),
            seconds=left / views * sum(e.seconds for e in sample.values()) / self.jobs,
            bytes=round(len(manifest.rows) / views * sum(e.size for e in sample.values())),
            free=shutil.disk_usage(self._cache).free,
            jobs=self.jobs,
        )
        cached = sum(e.size for e in encoded.values())
        if prediction.needed - cached > prediction.free:
            raise InputError(
                f"{self.data_dir_root} has {size(prediction.free)} free, and building {self.name} "
                f"takes {size(prediction.needed - cached)} more, half of it until it ends only; "
                "make room, or take --data-dir to a larger disk"
            )
        return prediction

    def build(self) -> Report | None:
        """Builds the data set, or continues an interrupted build.

        Returns:
          The report, or None if the data set was complete already.

        Raises:
          InputError: the raw videos are missing or too many are broken, or a build with other
            settings is in the way.
        """
        if self._is_complete():
            return None
        with self._lock():
            for left_over in Path(self.data_path.parent).glob(f"incomplete.*_{self.version}"):
                shutil.rmtree(left_over)
            self.download_and_prepare(download_dir=self._cache)  # TFDS makes it; it stays empty
        return self.report

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict(
            {
                "activity": tfds.features.Text(),
                "label": tfds.features.ClassLabel(names=list(self.classes)),
                "subject": tfds.features.Text(),
                "setup": tfds.features.Text(),
                "view": tfds.features.Text(),
                "first": np.int64,
                "step": np.int64,
                "frames": tfds.features.Sequence(tfds.features.Tensor(shape=(), dtype=np.object_)),
            }
        )
        return self.dataset_info_from_configs(features=features, disable_shuffling=True)

    def _download_and_prepare(self, dl_manager: Any, download_config: Any = None) -> None:
        raw_dir = self.raw_dir or Path(dl_manager.manual_dir)
        self.make_videos(raw_dir)
        manifest = self.manifest(raw_dir)
        sizes = _sizes(manifest, raw_dir)  # what is encoded, not what may be there at the end
        activities = manifest.activities()
        paths = self._paths(activities, raw_dir)
        encoded = _load_encoded(paths)
        resumed = len(encoded) - self._effort.activities
        todo = {i: (paths[i], rows) for i, rows in enumerate(activities) if i not in encoded}
        encoded |= self._encode(todo, raw_dir, self._encode_all)
        whole = [(rows, encoded[i]) for i, rows in enumerate(activities)]
        self.report = summarize(whole, manifest.unused, resumed, self._effort.rate)
        self._check_broken(sum(len(e.broken) for e in encoded.values()), len(manifest.rows))
        self._activities = [(rows, e) for rows, e in whole if e.views]
        start = time.monotonic()
        with tqdm(total=len(self._activities), desc="writing", unit="activity") as self._bar:
            super()._download_and_prepare(dl_manager, download_config)
        seconds = self._effort.seconds + time.monotonic() - start
        self.report = dataclasses.replace(self.report, seconds=round(seconds, 1))
        self._write_index()
        self._write_report(manifest, sizes)

    @property
    def _cache(self) -> Path:
        return Path(self.data_dir_root) / self.name / f".cache-{self.version}"

    def _lock(self) -> contextlib.AbstractContextManager[None]:
        return _locked(self._cache, f"another process builds {self.data_path} now; let it end")

    def _paths(self, activities: Sequence[tuple[Row, ...]], raw_dir: Path) -> list[Path]:
        """The file of each activity, which is there once it is encoded."""
        return [encoding.cache_path(self._cache, raw_dir, a, self.settings) for a in activities]

    def _encode(
        self,
        todo: Mapping[int, tuple[Path, tuple[Row, ...]]],
        raw_dir: Path,
        encode: Callable[..., Iterator[tuple[int, encoding.Encoded]]],
    ) -> Iterator[tuple[int, encoding.Encoded]]:
        """Encodes activities; yields position and result as they finish.

        Args:
          todo: position, file and rows of each.
          raw_dir: where their videos are.
          encode: does it, in processes here or wherever a pipeline runs.
        """
        positions, work = list(todo), list(todo.values())
        start = time.monotonic()
        with tqdm(
            total=sum(len(rows) for _, rows in work),
            desc=f"encoding {self.name}",
            unit="video",
            smoothing=0.02,  # the rate over the last minutes, not seconds
        ) as bar:
            for number, encoded in encode(work, raw_dir, self.settings):
                bar.update(len(work[number][1]))
                self._effort.activities += not encoded.broken
                self._effort.frames += sum(encoded.views.values())
                yield positions[number], encoded
        self._effort.seconds += time.monotonic() - start

    def _check_broken(self, broken: int, videos: int) -> None:
        if broken > self.max_broken * videos or broken == videos:
            raise InputError(
                f"{broken} of {videos} videos of {self.name} are broken, more than "
                f"{self.max_broken:.2%}; mend or remove them, or allow more with --max-broken, and "
                "run the same command again"
            )

    def _shard_iterators_per_split(
        self, dl_manager: Any
    ) -> Mapping[str, Sequence[Callable[[], Iterator[tuple[str, dict[str, Any]]]]]]:
        ends = np.cumsum([e.size for _, e in self._activities])
        shards: dict[int, list[int]] = {}
        for position, end in enumerate(ends):
            shards.setdefault(int(end) // SHARD_BYTES, []).append(position)
        return {SPLIT: [functools.partial(self._examples, shard) for shard in shards.values()]}

    def _examples(self, positions: Sequence[int]) -> Iterator[tuple[str, dict[str, Any]]]:
        for position in positions:
            rows, encoded = self._activities[position]
            frames = iter(encoded.frames())
            for view, length in encoded.views.items():
                of_view = list(itertools.islice(frames, length))
                for first in range(min(length, PHASES)):
                    yield (
                        f"{position}/{view}/{first}",
                        {
                            "activity": rows[0].activity,
                            "label": rows[0].label,
                            "subject": rows[0].subject,
                            "setup": rows[0].setup,
                            "view": view,
                            "first": first,
                            "step": PHASES,
                            "frames": of_view[first::PHASES],
                        },
                    )
            self._bar.update()

    def _example_writer(self) -> writer.ExampleWriter:
        return _ReproducibleWriter(file_format=self.info.file_format)

    def _write_index(self) -> None:
        """Writes what protocols choose from; records are in the order of `activities` and views."""
        head = {
            "dataset": self.name,
            "version": str(self.version),
            "classes": self.classes,
            "short_side": self.settings.short_side,
            "phases": PHASES,
        }
        labels = {name: label for label, name in enumerate(self.classes)}
        lines = [
            json.dumps(
                {
                    "id": rows[0].activity,
                    "label": labels[rows[0].label],
                    "subject": rows[0].subject,
                    "setup": rows[0].setup,
                    "views": encoded.views,
                },
                ensure_ascii=False,
            )
            for rows, encoded in self._activities
        ]
        text = json.dumps(head, ensure_ascii=False)[:-1] + ', "activities": [\n'
        text += ",\n".join(lines) + "\n]}\n"
        (Path(self.data_path) / "index.json").write_text(text, encoding="utf-8")

    def _write_report(self, manifest: Manifest, sizes: dict[str, int]) -> None:
        assert self.report is not None
        content = {
            "settings": dataclasses.asdict(self.settings) | self.made_with,
            "manifest": self._digest(manifest),
            **dataclasses.asdict(self.report),
            "video_bytes": sizes,
        }
        text = json.dumps(content, indent=1) + "\n"  # ASCII: names of files may be anything
        (Path(self.data_path) / "report.json").write_text(text, encoding="utf-8")

    def _is_complete(self) -> bool:
        """Whether there is a build; raises as `_check_complete`."""
        if not self.data_path.exists():
            return False
        self._check_complete()
        if self._cache.exists():  # what made it was killed at its very end
            with self._lock():
                shutil.rmtree(self._cache, ignore_errors=True)
        return True

    def _check_complete(self) -> None:
        """Raises InputError unless the existing build is what this builder would make.

        As far as the names and sizes of the videos tell: they are not read again.
        """
        path = Path(self.data_path) / "report.json"
        try:
            built = json.loads(path.read_text(encoding="utf-8"))
            settings, rows = dict(built["settings"]), built["manifest"]
        except (OSError, ValueError, KeyError, TypeError):
            raise InputError(f"{self.data_path} is no complete build; delete it first") from None
        remedy = "delete it, or build into another --data-dir"
        for field, value in (dataclasses.asdict(self.settings) | self.made_with).items():
            if settings.get(field, value) != value:
                raise InputError(
                    f"{self.data_path} was built with {field} {settings[field]}, "
                    f"not {value}; {remedy}"
                )
        sizes = built.get("video_bytes", {})
        if self.raw_dir is None or not _any_video(self.raw_dir, sizes):
            return  # they need not be kept once they are records
        manifest = self.manifest(self.raw_dir)
        if rows != self._digest(manifest):
            raise InputError(
                f"{self.data_path} was built from other videos than are in {self.raw_dir} now; "
                + remedy
            )
        for video, now in _sizes(manifest, self.raw_dir).items():
            if sizes.get(video, now) != now:
                raise InputError(
                    f"{self.data_path} was built when {self.raw_dir / video} was another file, of "
                    f"{sizes[video]:,} bytes, not {now:,}; {remedy}"
                )

    def _digest(self, manifest: Manifest) -> str:
        """What the records depend on; where files lie only if nothing else tells what they are."""
        rows = [
            dataclasses.astuple(row if self.PATHS_TELL else dataclasses.replace(row, path=""))
            for row in manifest.rows
        ]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    def _post_download_and_prepare_hook(self) -> None:
        shutil.rmtree(self._cache, ignore_errors=True)

    def _log_download_bytes(self) -> None:
        """Nothing is downloaded; TFDS would announce an unknown size."""

    def _log_download_done(self) -> None:
        """The report says it."""


class DownloadedBuilder(MultiViewBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Builds a downloaded data set, whose layout is a module of its folder.

    Attributes:
      LAYOUT: has `CLASSES` and `read(raw_dir, paths=None)`.
    """

    LAYOUT: Any

    @property
    def classes(self) -> tuple[str, ...]:
        """The official class names, in the order of their numbers."""
        return self.LAYOUT.CLASSES

    def manifest(self, raw_dir: Path) -> Manifest:
        """Finds the videos by their official names."""
        return self.LAYOUT.read(raw_dir)


def _load_encoded(paths: Sequence[Path]) -> dict[int, encoding.Encoded]:
    """Position and result of the activities that are encoded already.

    Without those that have a broken video: a disk or a permission may have been the reason.
    """
    found = {i: encoding.load(path) for i, path in enumerate(paths) if path.exists()}
    return {i: encoded for i, encoded in found.items() if not encoded.broken}


class _ReproducibleWriter(writer.ExampleWriter):
    """Puts the fields of each record in a fixed order, so that equal builds are equal files."""

    def write(self, path: Any, examples: Iterable[tuple[Any, bytes]]) -> Any:
        return super().write(path, ((key, _in_order(example)) for key, example in examples))


def _in_order(example: bytes) -> bytes:
    return tf_example_pb2.Example.FromString(example).SerializeToString(deterministic=True)


def _any_video(raw_dir: Path, known: Iterable[str]) -> bool:
    """Whether any file in or below a directory is a video, by its suffix or by its known path."""
    if not raw_dir.is_dir():
        return False
    paths = files.find_files(raw_dir).paths
    return not set(known).isdisjoint(paths) or any(map(is_video, paths))


def _sizes(manifest: Manifest, raw_dir: Path) -> dict[str, int]:
    """Bytes of every video by its path; of one that is not there 0."""
    videos = dict.fromkeys(row.path for row in manifest.rows)
    return {
        x: files.fingerprint(raw_dir / x)[0] if files.exists(raw_dir / x) else 0 for x in videos
    }


@contextlib.contextmanager
def _locked(folder: Path, message: str) -> Iterator[None]:
    """Makes a folder that one process at a time works in; a second one gets an InputError."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        if not take_lock(file):
            raise InputError(message)
        yield
