"""The benchmark runs, and what it compares is the same: records against the source videos."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from colours import write_video

from mv2mae_jax.data.randaugment import OPERATIONS
from tfds_builders.manifest_data.manifest_data_dataset_builder import Builder

CLIP_STAGES = {"whole, no RandAugment", "whole, RandAugment", *OPERATIONS}
STAGES = ("order", "draw", "read", "parse", "decode", "crop", "batch", "hand over", "cold read")
STAGES += ("PyAV", "whole, one core", "whole, no workers, 4", "whole, 2 workers, 2")


@pytest.fixture
def textures(tmp_path):
    """Four activities of two views: a picture that moves, so that every frame differs."""
    rng = np.random.default_rng(0)
    rows = []
    for activity in range(4):
        for view in "12":
            picture = cv2.resize(rng.integers(0, 256, (9, 30, 3), np.uint8), (200, 72))
            name = f"{activity}-{view}.mkv"
            write_video(tmp_path / name, [picture[:, 2 * t : 2 * t + 96] for t in range(50)])
            rows.append((f"a{activity}", view, name, "moving"))
    with (tmp_path / "videos.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("activity", "view", "path", "label"), *rows])
    data_dir = tmp_path / "data"
    Builder(
        manifest_csv=tmp_path / "videos.csv", name="textures", data_dir=data_dir, jobs=1
    ).build()
    return tmp_path


def measured(benchmark, folder, *options):
    """What a benchmark wrote to its file and printed."""
    command = [sys.executable, "-m", f"benchmarks.{benchmark}", "--data-dir", folder / "data"]
    command += ["--dataset", "textures", "--batch-size", "4", "--rounds", "1", "--seconds", "0.1"]
    command += [*options, "--json", folder / "rates.json"]
    done = subprocess.run(
        list(map(str, command)), cwd=Path(__file__).parents[2], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "rates.json").read_text()), done.stdout


def test_pairs_from_records_are_those_of_the_source_videos(textures):
    source = ("--raw-dir", textures, "--manifest", textures / "videos.csv")
    report, printed = measured("loader", textures, *source)
    # Measured on these videos: JPEG alone makes 3.1; one pixel off 9.7, one frame off 14.9.
    assert report["mean_pixel_difference_to_pyav"] < 5
    for stage in STAGES:
        rows = {name: v for name, v in report["seconds_per_pair"].items() if ";" not in name}
        (row,) = [row for name, row in rows.items() if name.startswith(stage)]
        assert 0 < row["min"] <= row["median"] <= row["max"]
        assert stage in printed
    sizes = report["bytes"]
    # Two views of frames 0, 4, ..., 48 and the last one, which is in a record of 12 others.
    assert 28 * sizes["per_frame"] == pytest.approx(sizes["used_per_pair"], rel=0.05)
    assert 1.6 < sizes["read_per_pair"] / sizes["used_per_pair"] < 2


def test_what_clips_of_finetuning_cost(textures):
    report, _ = measured("augmentation", textures)
    clips = report["processor_seconds_per_clip"]
    assert clips.keys() == CLIP_STAGES
    assert all(0 < row["min"] <= row["median"] <= row["max"] for row in clips.values())
