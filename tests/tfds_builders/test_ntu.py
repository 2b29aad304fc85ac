"""NTU's names, wherever the files lie."""

from pathlib import Path

import pytest

from mv2mae_jax.errors import InputError
from tfds_builders.manifest import Row
from tfds_builders.ntu import layout


def touch(*paths: Path) -> None:
    """Empty files: names are all that the parser reads."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_class_names_are_the_official_ones() -> None:
    assert len(layout.CLASSES) == len(set(layout.CLASSES)) == 120
    official = {
        1: "drink water",
        2: "eat meal/snack",
        27: "jump up",
        43: "falling",
        60: "walking apart from each other",
        61: "put on headphone",
        100: "butt kicks (kick backward)",
        120: "finger-guessing game (playing rock-paper-scissors)",
    }
    assert {number: layout.CLASSES[number - 1] for number in official} == official


def test_every_action_of_every_camera_is_found_and_named(tmp_path: Path) -> None:
    touch(
        *(
            tmp_path / f"nturgb+d_rgb/S{setup:03}C{camera:03}P{subject:03}R002A{action:03}_rgb.avi"
            for setup, subject in ((1, 8), (32, 106))
            for camera in (3, 1, 2)
            for action in range(1, 121)
        )
    )
    manifest = layout.read(tmp_path)
    assert manifest.unused == ()
    assert manifest.classes == layout.CLASSES
    activities = manifest.activities()
    assert len(manifest.rows) == 720 and len(activities) == 240
    for rows in activities:
        action = int(rows[0].activity[-3:])
        assert [row.view for row in rows] == ["1", "2", "3"]
        assert {row.label for row in rows} == {layout.CLASSES[action - 1]}
        assert {(row.setup, row.subject) for row in rows} <= {("1", "8"), ("32", "106")}
    names = [rows[0].activity for rows in activities]
    assert names == sorted(names)


def test_folders_do_not_matter(tmp_path: Path) -> None:
    touch(
        tmp_path / "nturgbd_rgb_s001/nturgb+d_rgb/S001C002P003R001A004_rgb.avi",
        tmp_path / "elsewhere/S001C001P003R001A004_rgb.avi",
        tmp_path / "S017C003P020R002A060_rgb.avi",
    )
    assert layout.read(tmp_path).rows == (
        Row(
            "S001P003R001A004",
            "1",
            "elsewhere/S001C001P003R001A004_rgb.avi",
            "brushing hair",
            subject="3",
            setup="1",
        ),
        Row(
            "S001P003R001A004",
            "2",
            "nturgbd_rgb_s001/nturgb+d_rgb/S001C002P003R001A004_rgb.avi",
            "brushing hair",
            subject="3",
            setup="1",
        ),
        Row(
            "S017P020R002A060",
            "3",
            "S017C003P020R002A060_rgb.avi",
            "walking apart from each other",
            subject="20",
            setup="17",
        ),
    )


def test_videos_with_other_names_are_named(tmp_path: Path) -> None:
    good = "S001C001P001R001A001_rgb.avi"
    others = ("S001C001P001R001A001.avi", "S001C001P001R001A121_rgb.avi", "x.MP4", f"_{good}")
    touch(*(tmp_path / name for name in (good, *others, "README.txt", "S001_skeleton.7z")))
    manifest = layout.read(tmp_path)
    assert [row.path for row in manifest.rows] == [good]
    reasons = {item.path: item.reason for item in manifest.unused}
    assert set(reasons) == set(others)
    assert "no action 121" in reasons["S001C001P001R001A121_rgb.avi"]


def test_the_same_view_twice_is_an_error_that_names_both(tmp_path: Path) -> None:
    name = "S001C001P001R001A001_rgb.avi"
    touch(tmp_path / "one" / name, tmp_path / "two" / name)
    with pytest.raises(InputError, match=f"one/{name} and two/{name}"):
        layout.read(tmp_path)


def test_no_videos_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no video named like"):
        layout.read(tmp_path)
    with pytest.raises(InputError, match="no directory"):
        layout.read(tmp_path / "none")
