"""A small data set of real videos, built by the real builder."""

import csv
from pathlib import Path

import numpy as np
import pytest
from colours import (
    ACTIVITIES,
    HEIGHT,
    LABELS,
    ONE_VIEW,
    SUBJECTS,
    VIEWS,
    WIDTH,
    colour_of,
    frames_of,
    write_video,
)
from ml_collections import ConfigDict

from configs.base import get_config
from tfds_builders.manifest_data.manifest_data_dataset_builder import Builder


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
