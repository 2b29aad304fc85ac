"""A small data set of real videos, built by the real builder.

Every frame is of one colour that tells where it is from: red the time, green the view, blue the
activity. So a test reads from a batch which frames are in it.
"""

import csv
from pathlib import Path

import av
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs.base import get_config
from tfds_builders.manifest_data.manifest_data_dataset_builder import Builder

ACTIVITIES = 14
VIEWS = ("1", "2", "3")
SUBJECTS = ("ann", "bob", "cyd")
LABELS = ("bow", "clap", "wave")
HEIGHT, WIDTH = 36, 48
ONE_VIEW = 13  # the only activity that has a single view


def frames_of(activity: int, view: str) -> int:
    """Length of a video: the views of an activity differ a little, and some are very short."""
    return (8 if activity % 5 == 4 else 20 + activity) + int(view)


def colour_of(activity: int, view: str, time: int) -> tuple[int, int, int]:
    """The colour of a frame, red, green and blue."""
    return 7 * time, 60 * int(view), 16 * activity


def where_from(frame: np.ndarray) -> tuple[int, str, int]:
    """Activity, view and time of a frame, from its colour."""
    red, green, blue = frame.reshape(-1, 3).mean(axis=0)
    return round(blue / 16), str(round(green / 60)), round(red / 7)


def write_video(path: Path, frames: list[np.ndarray]) -> None:
    """Writes RGB frames without loss."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=30)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "bgr0"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds the built data set `colours`."""
    raw = tmp_path_factory.mktemp("raw")
    rows = []
    for activity in range(ACTIVITIES):
        for view in VIEWS[: 1 if activity == ONE_VIEW else None]:
            shape = (HEIGHT, WIDTH, 3)
            times = range(frames_of(activity, view))
            frames = [np.full(shape, colour_of(activity, view, t), np.uint8) for t in times]
            write_video(raw / f"{activity}-{view}.mkv", frames)
            label, subject = LABELS[activity % 3], SUBJECTS[activity % 2 + activity % 3 // 2]
            rows.append((f"a{activity:02}", view, f"{activity}-{view}.mkv", label, subject))
    with (raw / "videos.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("activity", "view", "path", "label", "subject"), *rows])
    data = tmp_path_factory.mktemp("data")
    Builder(manifest_csv=raw / "videos.csv", name="colours", data_dir=data, jobs=1).build()
    return data


@pytest.fixture
def config(data_dir: Path) -> ConfigDict:
    """Pre-training on all of `colours`, small."""
    config = get_config()
    config.data.data_dir = str(data_dir)
    config.data.dataset = "colours"
    config.data.protocol = "all"
    config.data.num_frames = 4
    config.data.stride = 3
    config.data.image_size = 32
    config.batch_size = 4
    config.evaluation.batch_size = 4
    return config
