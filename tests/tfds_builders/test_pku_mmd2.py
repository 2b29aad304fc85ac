"""PKU-MMD II's names and label files."""

from pathlib import Path

import pytest
from indices import index_of, split_subjects, split_videos

from mv2mae_jax.data.records import Index
from mv2mae_jax.errors import InputError
from tfds_builders.manifest import Manifest, Row
from tfds_builders.pku_mmd2 import layout

WITHOUT_MIDDLE = ("A05N04", "A07N12", "A08N12", "A14N12", "A20N01")


def read(raw_dir: Path, labels: dict[str, str]) -> Manifest:
    """The manifest of videos with these names, whose label files hold this."""
    (raw_dir / "Label").mkdir(exist_ok=True)
    for name, text in labels.items():
        (raw_dir / f"{name}.avi").touch()
        (raw_dir / f"Label/{name}.txt").write_text(text)
    return layout.read(raw_dir)


def found(manifest: Manifest) -> dict[str, dict[str, tuple[str, int, int | None]]]:
    """Activity -> view -> class, first and last frame."""
    result: dict[str, dict[str, tuple[str, int, int | None]]] = {}
    for row in manifest.rows:
        views = result.setdefault(row.activity, {})
        views[row.view] = (row.label, row.first, row.last)
    return result


@pytest.fixture(scope="module")
def pku(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """All 1,009 videos, with one segment each, so that videos can be counted."""
    names = [
        f"A{sequence:02}N{subject:02}-{view}"
        for sequence in range(1, 27)
        for subject in range(1, 14)
        for view in "LMR"
    ]
    names = [name for name in names if name[-1] != "M" or name[:6] not in WITHOUT_MIDDLE]
    manifest = read(tmp_path_factory.mktemp("raw"), dict.fromkeys(names, "51,11,20,1\n"))
    assert manifest.unused == ()
    return index_of("pku_mmd2", manifest)


def test_class_names_are_the_official_ones() -> None:
    assert len(layout.CLASSES) == len(set(layout.CLASSES)) == 51
    assert layout.CLASSES[0] == "bow" and layout.CLASSES[50] == "writing"
    assert layout.CLASSES[46] == "use a fan (with hand or paper)/feeling warm"


def test_published_counts_of_videos(pku: Index) -> None:
    training, testing = split_videos(pku, "xsub")
    assert (len(training), len(testing)) == (775, 234)
    views = [sum(seen == view for _, seen in training | testing) for view in "LMR"]
    assert views == [338, 333, 338]
    assert {a.id[:6] for a in pku.activities if "M" not in a.views} == set(WITHOUT_MIDDLE)


def test_no_test_subject_trains(pku: Index) -> None:
    training, testing = split_subjects(pku, "xsub", validation_subjects=("13",))
    assert testing == {"2", "3", "7"}
    assert training == {str(n) for n in range(1, 13)} - testing


def test_segments_become_activities_of_several_views(tmp_path: Path) -> None:
    labels = {"A01N13-L": "33,101,200,2\n34,301,400,1", "A01N13-R": "33,103,203,2\n34,301,399,1\n"}
    manifest = read(tmp_path, labels)
    assert manifest.unused == ()
    assert manifest.rows == (
        Row("A01N13S001", "L", "A01N13-L.avi", "sitting down", "13", first=100, last=199),
        Row("A01N13S001", "R", "A01N13-R.avi", "sitting down", "13", first=102, last=202),
        Row("A01N13S002", "L", "A01N13-L.avi", "standing up", "13", first=300, last=399),
        Row("A01N13S002", "R", "A01N13-R.avi", "standing up", "13", first=300, last=398),
    )


def test_particulars_of_the_official_files(tmp_path: Path) -> None:
    """Swapped frames, no confidence, blank lines, blanks, out of order, line ends of Windows."""
    text = "\ufeff34,400,301\r\n\r\n 33 , 0, 200 , \r\n1,501,600,2\r\n   \r\n"
    manifest = read(tmp_path, {"A01N01-M": text})
    assert manifest.unused == ()
    assert found(manifest) == {
        "A01N01S001": {"M": ("sitting down", 0, 199)},
        "A01N01S002": {"M": ("standing up", 300, 399)},
        "A01N01S003": {"M": ("bow", 500, 599)},
    }


def test_lines_that_cannot_be_used_are_named_and_the_others_still_pair(tmp_path: Path) -> None:
    whole = "1,1,9,1\n2,11,19,1\n3,21,29,1\n4,31,39,1\n5,41,49,1\n"
    damaged = "1,1,9,1\n52,11,19,1\n3,21,29,1\n4,31,3x,1\n5,41\n5,41,49,1\n"
    manifest = read(tmp_path, {"A01N01-L": whole, "A01N01-M": whole, "A01N01-R": damaged})
    assert [tuple(views) for views in found(manifest).values()] == [
        *(("L", "M", "R"), ("L", "M"), ("L", "M", "R"), ("L", "M"), ("L", "M", "R"))
    ]
    assert [(item.path, item.reason) for item in manifest.unused] == [
        ("Label/A01N01-R.txt", "line 2: there is no action 52"),
        ("Label/A01N01-R.txt", "line 4: '4,31,3x,1' is not class,start,end,confidence"),
        ("Label/A01N01-R.txt", "line 5: '5,41' is not class,start,end,confidence"),
    ]


@pytest.mark.parametrize("odd", ["L", "M", "R"])
def test_the_view_that_disagrees_with_the_others_is_left_out_of_that_activity(
    tmp_path: Path, odd: str
) -> None:
    labels = dict.fromkeys(("A01N01-L", "A01N01-M", "A01N01-R"), "1,1,9\n2,11,19\n3,21,29\n")
    labels[f"A01N01-{odd}"] = "1,1,9\n8,11,19\n3,21,29\n"
    manifest = read(tmp_path, labels)
    views = found(manifest)
    assert set(views["A01N01S001"]) == set(views["A01N01S003"]) == set("LMR")
    assert set(views["A01N01S002"]) == set("LMR") - {odd}
    assert {label for label, *_ in views["A01N01S002"].values()} == {"brushing hair"}
    (item,) = manifest.unused
    assert item.path == f"Label/A01N01-{odd}.txt"
    assert item.reason == "line 2: 'drink water' is not in the other views then"


def test_a_segment_too_many_or_too_few_does_not_shift_the_others(tmp_path: Path) -> None:
    all_views = "1,1,9\n2,11,19\n3,21,29\n"
    more, fewer = "1,1,9\n4,10,10\n2,11,19\n3,21,29\n", "2,11,19\n3,21,29\n"
    manifest = read(tmp_path, {"A01N01-L": more, "A01N01-M": all_views, "A01N01-R": all_views})
    assert [set(views) for views in found(manifest).values()] == [set("LMR")] * 3
    assert [item.reason for item in manifest.unused] == [
        "line 2: 'check time (from watch)' is not in the other views then"
    ]
    manifest = read(tmp_path, {"A01N01-L": fewer, "A01N01-M": all_views, "A01N01-R": all_views})
    assert [set(views) for views in found(manifest).values()] == [set("MR"), *[set("LMR")] * 2]
    assert manifest.unused == ()
    for views in found(manifest).values():
        assert len(set(views.values())) == 1  # the same frames: nothing is paired wrongly


def test_an_action_that_is_done_twice_is_paired_with_its_own_time(tmp_path: Path) -> None:
    whole = "8,301,400\n3,501,600\n8,1001,1100\n3,1201,1300\n"
    later = "8,1003,1099\n3,1201,1300\n3,1401,1500\n"
    manifest = read(tmp_path, {"A01N01-L": later, "A01N01-M": whole, "A01N01-R": whole})
    views = found(manifest)
    assert [set(x) for x in views.values()] == [set("MR"), set("MR"), set("LMR"), set("LMR")]
    assert views["A01N01S003"]["L"][1:] == (1002, 1098)
    assert [item.reason for item in manifest.unused] == [
        f"line 3: {layout.CLASSES[2]!r} is not in the other views then"
    ]


def test_of_two_views_the_one_with_more_segments_counts(tmp_path: Path) -> None:
    manifest = read(tmp_path, {"A01N01-L": "2,11,19\n", "A01N01-R": "1,1,9\n2,11,19\n"})
    assert [set(views) for views in found(manifest).values()] == [{"R"}, {"L", "R"}]


def test_videos_and_labels_that_are_alone_are_named(tmp_path: Path) -> None:
    read(tmp_path, {"A01N01-L": "1,1,9\n", "A01N01-R": "\n"})
    (tmp_path / "A01N01-M.avi").touch()
    (tmp_path / "0001-L.avi").touch()
    (tmp_path / "Label/A02N01-L.txt").write_text("1,1,9\n")
    (tmp_path / "cross_subject_v2.txt").write_text("Training videos:\n")
    manifest = layout.read(tmp_path)
    assert [row.path for row in manifest.rows] == ["A01N01-L.avi"]
    assert {item.path: item.reason for item in manifest.unused} == {
        "0001-L.avi": "its name is not like A01N01-L.avi",
        "A01N01-M.avi": "it has no label file",
        "Label/A02N01-L.txt": "it has no video",
        "Label/A01N01-R.txt": "it lists no segment, so its video is not used",
    }


def test_folders_and_suffixes_do_not_matter(tmp_path: Path) -> None:
    for path in ("Data/RGB_VIDEO/A01N01-L.MP4", "Train_Label_PKU_final/A01N01-L.label"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text("1,1,9\n")
    (row,) = layout.read(tmp_path).rows
    assert row.path == "Data/RGB_VIDEO/A01N01-L.MP4"


@pytest.mark.parametrize("second", ["two/A01N01-L.mp4", "two/A01N01-L.txt"])
def test_a_file_that_is_there_twice_is_an_error(tmp_path: Path, second: str) -> None:
    read(tmp_path, {"A01N01-L": "1,1,9\n"})
    (tmp_path / "two").mkdir()
    (tmp_path / second).touch()
    with pytest.raises(InputError, match=rf"A01N01-L is there twice, as .* and {second}"):
        layout.read(tmp_path)


def test_nothing_to_use_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no video named like A01N01-L.avi"):
        layout.read(tmp_path)
    (tmp_path / "A01N01-L.avi").touch()
    with pytest.raises(InputError, match=r"below it; A01N01-L.avi: it has no label file"):
        layout.read(tmp_path)
