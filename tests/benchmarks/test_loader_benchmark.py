"""The benchmark runs, and what it compares is the same: records against the source videos."""

import pytest

STAGES = ("order", "draw", "read", "parse", "decode", "crop", "batch", "hand over", "cold read")
STAGES += ("PyAV", "whole, one core", "whole, no workers, 4", "whole, 2 workers, 2")


def test_pairs_from_records_are_those_of_the_source_videos(textures, measured):
    source = ("--raw-dir", textures, "--manifest", textures / "videos.csv")
    report, printed = measured("loader", *source)
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
