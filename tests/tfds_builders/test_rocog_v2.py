"""RoCoG-v2's names, and the official lists of real clips."""

from pathlib import Path

import pytest
from indices import index_of, split_subjects, split_videos

from mv2mae_jax.data.records import Index
from tfds_builders.manifest import Manifest, Row
from tfds_builders.rocog_v2 import layout

SYNTHETIC = "Scene12_3_S02_FollowMe_R1_2_30_1_2022_17_3_43.mp4"


def official() -> dict[str, dict[str, int]]:
    """The published lists of real clips: ground_train, ... -> path -> label."""
    lists: dict[str, dict[str, int]] = {}
    text = Path(__file__).with_name("rocog_v2_real.txt").read_text()
    for line in text.splitlines():
        name, path, label = line.split()
        lists.setdefault(name, {})[path] = int(label)
    return lists


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    """All real clips and some synthetic ones, which no protocol here may take."""
    real = [path for clips in official().values() for path in clips]
    synthetic = [f"syn/{view}/FollowMe/{SYNTHETIC}" for view in ("ground", "air")]
    return layout.read(Path("raw"), [*real, *synthetic])


@pytest.fixture(scope="module")
def index(manifest: Manifest) -> Index:
    return index_of("rocog_v2", manifest)


def test_class_names_are_the_official_ones() -> None:
    names = "Advance Attention Rally MoveForward Halt FollowMe MoveInReverse"
    assert list(layout.CLASSES) == names.split()


@pytest.mark.parametrize(
    ("view", "train", "test"), [("ground", 204, 100), ("air", 87, 91)], ids=["ground", "air"]
)
def test_splits_are_the_official_lists(
    manifest: Manifest, index: Index, view: str, train: int, test: int
) -> None:
    paths = {row.activity: row.path for row in manifest.rows}
    training, testing = split_videos(index, view)
    assert (len(training), len(testing)) == (train, test)
    assert {paths[name] for name, _ in training} == official()[f"{view}_train"].keys()
    assert {paths[name] for name, _ in testing} == official()[f"{view}_test"].keys()
    assert {seen for _, seen in training | testing} == {view}
    split_subjects(index, view)


def test_labels_are_the_official_ones(manifest: Manifest) -> None:
    labels = {path: label for clips in official().values() for path, label in clips.items()}
    found = {row.path: layout.CLASSES.index(row.label) for row in manifest.rows}
    assert {path: found[path] for path in labels} == labels


def test_every_clip_is_an_activity_of_one_view(manifest: Manifest) -> None:
    assert {len(rows) for rows in manifest.activities()} == {1}
    assert len(manifest.rows) == 484 and manifest.unused == ()


def test_names_say_enough_without_folders() -> None:
    names = ["S01_10m_ground_label5_start1462.mp4", "S04b_15m_hover_2_label3_start7231.mp4"]
    assert layout.read(Path("raw"), names).rows == (
        Row(f"real_air_{names[1][:-4]}", "air", names[1], "Rally", "S04b", "real"),
        Row(f"real_ground_{names[0][:-4]}", "ground", names[0], "Halt", "S01", "real"),
    )


@pytest.mark.parametrize("folder", ["syn/air/FollowMe", "x/syn_air/FollowMe", "ground/air"])
def test_folders_say_whence_a_synthetic_clip_is_seen(folder: str) -> None:
    (row,) = layout.read(Path("raw"), [f"{folder}/{SYNTHETIC}"]).rows
    assert (row.view, row.label, row.subject, row.setup) == ("air", "FollowMe", "scene12", "syn")


def test_contradictions_and_gaps_are_named() -> None:
    good = "real/ground/Halt/S01_10m_ground_label5_start1462.mp4"
    reasons = {
        "ground/Rally/S01_10m_ground_label5_start9.mp4": "its name says Halt, its folder Rally",
        "S01_10m_ground_label8_start1462.mp4": "there is no action 8",
        SYNTHETIC: "no folder says whether it is seen from the ground or the air",
        f"syn/orbital/Halt/{SYNTHETIC}": (
            "no folder says whether it is seen from the ground or the air"
        ),
        "syn/air/Scene1_0_Wave_30_1_2022_17_3_43.mp4": "there is no class Wave",
    }
    manifest = layout.read(Path("raw"), [good, *reasons])
    assert [row.path for row in manifest.rows] == [good]
    assert {item.path: item.reason for item in manifest.unused} == reasons
