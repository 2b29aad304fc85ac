"""The way from a published package to records of real footage."""

import json
from pathlib import Path

import pytest

from tfds_builders import pose2sim
from tfds_builders.manifest_data.layout import read_csv
from tfds_builders.manifest_data.manifest_data_dataset_builder import Builder


@pytest.mark.network
def test_real_footage_becomes_records(tmp_path: Path) -> None:
    manifest = pose2sim.download(tmp_path / "raw")
    assert len(read_csv(manifest, tmp_path / "raw").rows) == 16
    report = Builder(manifest_csv=manifest, name="pose2sim", data_dir=tmp_path).build()
    assert report is not None
    assert (report.activities, report.views, report.frames) == (4, 16, 400)
    assert report.broken == report.unused == report.uneven == ()
    index = json.loads((tmp_path / "pose2sim/2.0.0/index.json").read_text())
    assert index["classes"] == ["lean", "recover"]
    views = {f"cam0{camera}": 25 for camera in (1, 2, 3, 4)}
    assert all(activity["views"] == views for activity in index["activities"])
