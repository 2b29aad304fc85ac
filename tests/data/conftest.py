"""A small data set of real videos, built by the real builder."""

from collections.abc import Iterator
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
)
from data_sets import Video, build_data_set
from ml_collections import ConfigDict

from configs.base import get_config


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds the built data set `colours`."""

    def videos() -> Iterator[Video]:
        for activity in range(ACTIVITIES):
            label, subject = LABELS[activity % 3], SUBJECTS[activity % 2 + activity % 3 // 2]
            for view in VIEWS[: 1 if activity == ONE_VIEW else None]:
                colours = [colour_of(activity, view, t) for t in range(frames_of(activity, view))]
                frames = [np.full((HEIGHT, WIDTH, 3), colour, np.uint8) for colour in colours]
                yield f"a{activity:02}", view, label, subject, frames

    return build_data_set(tmp_path_factory.mktemp("colours"), "colours", videos())


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
