"""A data set for the benchmarks of the loader, and what they say of it."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from data_sets import Video, build_data_set


@pytest.fixture(scope="session")
def textures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four activities of two views: a picture that moves, so that every frame differs."""
    rng = np.random.default_rng(0)

    def videos() -> Iterator[Video]:
        for activity in range(4):
            for view in "12":
                picture = cv2.resize(rng.integers(0, 256, (9, 30, 3), np.uint8), (200, 72))
                frames = [picture[:, 2 * t : 2 * t + 96] for t in range(50)]
                yield f"a{activity}", view, "moving", "", frames

    folder = tmp_path_factory.mktemp("textures")
    build_data_set(folder, "textures", videos())
    return folder


@pytest.fixture
def measured(textures: Path, tmp_path: Path) -> Callable[..., tuple[dict, str]]:
    """What a benchmark writes to its file, and prints."""

    def measure(benchmark: str, *options: object) -> tuple[dict, str]:
        command = [sys.executable, "-m", f"benchmarks.{benchmark}", "--data-dir", textures / "data"]
        command += ["--dataset", "textures", "--batch-size", 4, "--rounds", 1, "--seconds", 0.1]
        command += [*options, "--json", tmp_path / "rates.json"]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads((tmp_path / "rates.json").read_text()), done.stdout

    return measure
