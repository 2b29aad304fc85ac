"""Writes mannequin's videos.

The files bear NTU's names, S001C001P001R001A001_rgb.avi, in the folder nturgb+d_rgb. Each activity
is a function of the seed and its own numbers, so neither the number of processes nor of subjects
changes a file.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np

from mv2mae_jax.errors import InputError
from mv2mae_jax.processes import died, end_with_parent, usable_cores, without_interrupts
from mv2mae_jax.storage import write_whole
from tfds_builders.mannequin import REPLICATIONS, SEED, STAGING, SUBJECTS
from tfds_builders.mannequin.actions import CLASSES, FRAME_RATE
from tfds_builders.mannequin.render import Frames, render_activity
from tfds_builders.mannequin.staging import STAGINGS

SETUPS = 6
FOLDER = "nturgb+d_rgb"

Activity = tuple[int, int, int, int]  # set-up, subject, replication, action


def plan(subjects: int, replications: int, seed: int) -> list[Activity]:
    """All activities; a subject visits two or three set-ups, an activity one of them at random.

    Raises:
      InputError: a number is out of range.
    """
    if not 1 <= subjects <= 999:
        raise InputError(f"subjects is {subjects}; it must lie between 1 and 999")
    if replications not in (1, 2):
        raise InputError(f"replications is {replications}; it must be 1 or 2")
    if seed < 0:
        raise InputError(f"seed is {seed}; it must be 0 or more")
    activities = []
    for subject in range(1, subjects + 1):
        rng = np.random.default_rng([seed, 0, subject])
        rooms = 1 + rng.permutation(SETUPS)[: rng.integers(2, 4)]
        activities += [
            (int(room), subject, replication, action)
            for replication in range(1, replications + 1)
            for action, room in enumerate(rng.choice(rooms, len(CLASSES)), 1)
        ]
    return sorted(activities)  # by set-up, so that a process renders few backgrounds


def write_video(path: Path, frames: Frames) -> None:
    """Writes BGR frames as MPEG-4 in AVI, completely or not at all."""
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        _write_whole(part, frames)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)  # of a full disk


def _write_whole(part: Path, frames: Frames) -> None:
    with av.open(str(part), "w", format="avi") as container:
        stream = container.add_stream("mpeg4", rate=FRAME_RATE)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.qmin = stream.codec_context.qmax = 2
        stream.codec_context.bit_rate = 4_000_000
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="bgr24")))
        container.mux(stream.encode())


def paths_of(folder: Path, activity: Activity) -> dict[int, Path]:
    """Camera number to file."""
    setup, subject, replication, action = activity
    return {
        camera: folder
        / f"S{setup:03}C{camera:03}P{subject:03}R{replication:03}A{action:03}_rgb.avi"
        for camera in (1, 2, 3)
    }


def write_activity(folder: Path, activity: Activity, seed: int, staging: str) -> None:
    """Renders and writes the files of an activity that are not there yet."""
    missing = {
        camera: path for camera, path in paths_of(folder, activity).items() if not path.exists()
    }
    if missing:
        views = render_activity(*activity, seed, STAGINGS[staging])
        for camera, path in missing.items():
            write_video(path, views[camera])


def generate(
    raw_dir: str | os.PathLike[str],
    *,
    subjects: int = SUBJECTS,
    replications: int = REPLICATIONS,
    seed: int = SEED,
    staging: str = STAGING,
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Writes all videos below `raw_dir`, those already there excepted.

    Args:
      raw_dir: made if it does not exist.
      subjects: number of subjects.
      replications: 1, or 2: performances of each action by each subject.
      seed: of everything random.
      staging: how much is left to chance: a name of `STAGINGS`.
      jobs: processes; None for one for each core it may use, 1 for none beside this one.
      progress: called with the number of activities done and their total.

    Returns:
      Every file of the data set, sorted.

    Raises:
      InputError: a number is out of range, there is no such staging, the folder holds videos of
        another seed or staging, or a process died.
    """
    if jobs is not None and jobs < 1:
        raise InputError(f"jobs is {jobs}; it must be 1 or more")
    if staging not in STAGINGS:
        raise InputError(f"staging is {staging}; it must be one of {', '.join(STAGINGS)}")
    activities = plan(subjects, replications, seed)
    check_stamp(Path(raw_dir), seed, staging)
    folder = Path(raw_dir) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(_stamp(Path(raw_dir)), f"{_stamped(seed, staging)}\n")

    todo = [a for a in activities if not all(p.exists() for p in paths_of(folder, a).values())]
    first = len(activities) - len(todo) + 1
    jobs = min(usable_cores() if jobs is None else jobs, max(len(todo), 1))
    if jobs == 1:
        for done, activity in enumerate(todo, first):
            write_activity(folder, activity, seed, staging)
            if progress:
                progress(done, len(activities))
    else:
        context = multiprocessing.get_context("spawn")
        render = partial(write_activity, folder, seed=seed, staging=staging)
        pool = ProcessPoolExecutor(jobs, context, initializer=_start_worker)
        try:
            with without_interrupts():  # processes start within `map`
                rendered = pool.map(render, todo, chunksize=4)
            for done, _ in enumerate(rendered, first):
                if progress:
                    progress(done, len(activities))
        except BrokenProcessPool:
            raise died("rendering") from None
        finally:
            pool.shutdown(cancel_futures=True)
    return files(raw_dir, activities)


def files(raw_dir: str | os.PathLike[str], activities: Iterable[Activity]) -> list[Path]:
    """Every file of the activities, sorted, whether it is there or not."""
    folder = Path(raw_dir) / FOLDER
    return sorted(path for a in activities for path in paths_of(folder, a).values())


def check_stamp(raw_dir: Path, seed: int, staging: str) -> None:
    """Raises InputError if the folder holds videos of another seed or staging."""
    stamp, ours = _stamp(raw_dir), _stamped(seed, staging)
    if stamp.exists() and (theirs := stamp.read_text().strip()) != ours:
        raise InputError(f"{raw_dir} holds videos of {theirs}, not of {ours}; take another folder")


def _stamp(raw_dir: Path) -> Path:
    return raw_dir / "mannequin_seed.txt"


def _stamped(seed: int, staging: str) -> str:
    return f"seed {seed}, {staging}"


def _start_worker() -> None:
    cv2.setNumThreads(1)
    end_with_parent()
