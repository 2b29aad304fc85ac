"""What all official layouts have in common, whatever the names of a data set look like."""

import importlib
from pathlib import Path

import pytest

from mv2mae_jax.data.protocols import PUBLISHED
from mv2mae_jax.errors import InputError
from tfds_builders import BUILDERS, DOWNLOADED, layouts
from tfds_builders.manifest import Manifest, Row

NAMES = {  # of one activity: all its videos, in the order of the manifest
    "ntu": [f"S001C00{camera}P002R001A003_rgb" for camera in (1, 2, 3)],
    "etri": [f"A001_P002_G003_C{camera:03}" for camera in range(1, 9)],
    "synadl": [f"A001_P102_G003_C{camera:03}" for camera in range(1, 29)],
    "nucla": [f"a01/v0{camera}_s02_e03" for camera in (1, 2, 3)],
    "rocog_v2": ["S04b_15m_hover_2_label3_start7231"],
}


def read(dataset: str, paths: list[str]) -> Manifest:
    """What the data set's builder would find in a directory with these files."""
    layout = importlib.import_module(f"tfds_builders.{dataset}.layout")
    return layout.read(Path("raw"), paths)


def test_every_data_set_has_its_command() -> None:
    """Each folder is in the table, has published protocols, and is looked at below."""
    folders = {path.parent.name for path in Path("tfds_builders").glob("*/*_dataset_builder.py")}
    assert folders == {*BUILDERS, "manifest_data"}
    assert set(PUBLISHED) == set(BUILDERS)
    assert set(DOWNLOADED) == {*NAMES, "pku_mmd2"}


@pytest.mark.parametrize("dataset", NAMES)
@pytest.mark.parametrize("folder", ["", "nturgb+d_rgb/", "S001 (1)/P001-P010/RGB.zip/"])
@pytest.mark.parametrize("suffix", [".avi", ".MP4", ".mkv"])
def test_neither_folders_nor_suffixes_matter(dataset: str, folder: str, suffix: str) -> None:
    paths = [f"{folder}{name}{suffix}" for name in NAMES[dataset]]
    manifest = read(dataset, [*reversed(paths), "README.txt", "skeletons/A001.json"])
    assert [row.path for row in manifest.rows] == paths
    assert len(manifest.activities()) == 1 and manifest.unused == ()
    bare = read(dataset, [f"{name}.avi" for name in NAMES[dataset]])
    activities = [rows[0].activity for rows in manifest.activities()]
    assert activities == [rows[0].activity for rows in bare.activities()]


@pytest.mark.parametrize("dataset", NAMES)
def test_cameras_are_views_in_their_order(dataset: str) -> None:
    manifest = read(dataset, [f"{name}.avi" for name in NAMES[dataset]])
    cameras = [str(camera) for camera in range(1, len(NAMES[dataset]) + 1)]
    assert [row.view for row in manifest.rows] == (["air"] if dataset == "rocog_v2" else cameras)


@pytest.mark.parametrize("dataset", NAMES)
def test_other_videos_are_named_and_other_files_are_not(dataset: str) -> None:
    good = f"{NAMES[dataset][0]}.avi"
    folder, _, name = good.rpartition("/")
    bad = [f"{folder}/_{name}", f"{folder}/._{name}", f"{good[:-4]} copy.avi", "holiday.MOV"]
    manifest = read(dataset, [good, *bad, f"{good}.part", "README.txt"])
    assert [row.path for row in manifest.rows] == [good]
    assert [item.path for item in manifest.unused] == bad
    assert all("its name is not like" in item.reason for item in manifest.unused)


@pytest.mark.parametrize("dataset", NAMES)
def test_a_video_that_is_there_twice_is_an_error(dataset: str) -> None:
    name = NAMES[dataset][0]
    with pytest.raises(InputError, match=rf"there twice, as {name}.avi and two/{name}.mp4"):
        read(dataset, [f"{name}.avi", f"two/{name}.mp4"])


@pytest.mark.parametrize("dataset", NAMES)
def test_nothing_to_use_is_an_error_that_shows_a_name(dataset: str) -> None:
    with pytest.raises(InputError, match=r"no video named like .* in or below it$"):
        read(dataset, ["README.txt"])
    with pytest.raises(InputError, match=r"below it; holiday.mp4: its name is not like"):
        read(dataset, ["holiday.mp4"])


def test_a_misfit_is_named_with_its_reason() -> None:
    def to_row(path: str, match: object) -> Row:
        if path != "12.avi":
            raise layouts.Misfit("too large")
        return Row("a", "1", path, "wave")

    paths = ["12.avi", "13.avi"]
    manifest = layouts.read_videos(Path("raw"), r"\d\d", "12.avi", to_row, ["wave"], paths)
    assert [item.reason for item in manifest.unused] == ["too large"]
