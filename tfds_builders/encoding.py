"""Many activities at once: a pool of processes fills a folder of finished activities.

The folder is what makes a build resumable. An activity's file is named by everything that it was
made from (rows, settings, size and time of each video), so a changed video or setting makes
another file and nothing stale is ever used.
"""

import concurrent.futures
import dataclasses
import hashlib
import itertools
import json
import multiprocessing
import os
import pickle
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np

from mv2mae_jax.processes import died, end_with_parent, without_interrupts
from tfds_builders import files
from tfds_builders.manifest import Row, Unused
from tfds_builders.video import VideoError, encode_frames

APART = 1.5  # frames that views of an activity may be out of step


@dataclasses.dataclass(frozen=True)
class Settings:
    """How frames are stored.

    Attributes:
      short_side: of every frame, in pixels; smaller videos keep their size.
      quality: of the JPEGs, 1 to 100.
    """

    short_side: int
    quality: int


@dataclasses.dataclass(frozen=True)
class Encoded:
    """A finished activity: where its frames are, and what is known about them.

    Attributes:
      path: file of the cache folder that holds all its frames.
      views: name and number of frames of each good view.
      size: of all frames, in bytes.
      seconds: taken by one process.
      broken: the videos that could not be used.
      apart: what is said of views that show a frame at another time than the first view does.
    """

    path: Path
    views: dict[str, int]
    size: int
    seconds: float
    broken: tuple[Unused, ...]
    apart: tuple[str, ...]

    def frames(self) -> list[bytes]:
        """JPEGs of all views after one another."""
        with self.path.open("rb") as file:
            pickle.load(file)
            return pickle.load(file)


def cache_path(cache: Path, raw_dir: Path, rows: Sequence[Row], settings: Settings) -> Path:
    """The file of one activity, named by what it is made from."""
    # Files of a version that kept less are of no use to this one.
    kept = [field.name for field in dataclasses.fields(Encoded)]
    parts: list[object] = [dataclasses.asdict(settings), kept]
    for row in rows:
        parts.append([dataclasses.asdict(row), *files.fingerprint(raw_dir / row.path)])
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
    return cache / digest[:2] / digest


def load(path: Path) -> Encoded:
    """What is known about a finished activity, without its frames."""
    with path.open("rb") as file:
        return dataclasses.replace(pickle.load(file), path=path)


def encode_activity(path: Path, raw_dir: Path, rows: Sequence[Row], settings: Settings) -> Encoded:
    """Decodes the views of one activity and writes their frames to `path`, whole or not at all."""
    start = time.monotonic()
    frames: list[bytes] = []
    views: dict[str, int] = {}
    times: dict[str, list[float]] = {}
    broken: list[Unused] = []
    for row in rows:
        try:
            images, times[row.view] = encode_frames(
                raw_dir / row.path, row.first, row.last, **dataclasses.asdict(settings)
            )
        except VideoError as error:
            broken.append(Unused(row.path, str(error)))
            continue
        views[row.view] = len(images)
        frames += images
    if len({row.first for row in rows}) > 1:  # whoever cut them knows how much one began later
        times = {view: [time - x[0] for time in x] for view, x in times.items()}
    seconds = time.monotonic() - start
    size = sum(map(len, frames))
    encoded = Encoded(path, views, size, seconds, tuple(broken), tuple(_apart(times)))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with partial.open("wb") as file:
            pickle.dump(encoded, file)
            pickle.dump(frames, file)
            file.flush()
            os.fsync(file.fileno())  # whole after a power loss, too
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)  # of a full disk
    return encoded


def _apart(times: Mapping[str, Sequence[float]]) -> Iterator[str]:
    """Views whose time stamps part by more than `APART` frames from the first view's."""
    stamped = [(view, x) for view, x in times.items() if x]
    for view, x in stamped[1:]:
        first, reference = stamped[0]
        common = min(len(x), len(reference))
        delays = np.subtract(x[:common], reference[:common])
        frame = (reference[common - 1] - reference[0]) / max(1, common - 1)
        far = np.flatnonzero(np.abs(delays) > APART * frame)
        if far.size:
            worst = max(delays[far], key=abs)
            yield (
                f"from frame {far[0]} on {view} is up to {abs(worst):.2f} s "
                f"{'later' if worst > 0 else 'earlier'} than {first}"
            )


def encode_activities(
    work: Sequence[tuple[Path, Sequence[Row]]], raw_dir: Path, settings: Settings, jobs: int
) -> Iterator[tuple[int, Encoded]]:
    """Encodes activities in `jobs` processes; yields (position in `work`, result) as they finish.

    Two activities per process are under way at a time, whatever the size of the data set.
    """
    pool = concurrent.futures.ProcessPoolExecutor(
        jobs, multiprocessing.get_context("spawn"), initializer=end_with_parent
    )
    queue = iter(enumerate(work))
    running: dict[concurrent.futures.Future[Encoded], int] = {}
    try:
        while True:
            with without_interrupts():  # processes start within `submit`
                for position, (path, rows) in itertools.islice(queue, 2 * jobs - len(running)):
                    running[pool.submit(encode_activity, path, raw_dir, rows, settings)] = position
            if not running:
                return
            done, _ = concurrent.futures.wait(
                running, return_when=concurrent.futures.FIRST_COMPLETED
            )
            for future in done:
                yield running.pop(future), future.result()
    except BrokenProcessPool:
        raise died("decoding") from None
    finally:
        pool.shutdown(cancel_futures=True)
