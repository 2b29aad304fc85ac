"""A CSV is read as it is meant, or refused with its line."""

import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from videos import moving_pattern, write_csv, write_video

from mv2mae_jax.errors import InputError
from tfds_builders.manifest import Row, natural
from tfds_builders.manifest_data.layout import read_csv


@pytest.fixture(scope="module")
def raw_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos of 12 frames, and one file that is none."""
    folder = tmp_path_factory.mktemp("raw")
    for name in ("a.mp4", "b.mp4"):
        write_video(folder / name, moving_pattern(12, 48, 64))
    (folder / "broken.mp4").write_text("no video")
    return folder


def test_columns_in_any_order_become_rows(raw_dir: Path, tmp_path: Path) -> None:
    path = write_csv(
        tmp_path / "m.csv",
        [
            ("a.mp4", "stir", "10", "left", "0", "5", "Ann"),
            ("b.mp4", "stir", "10", "right", "0", "5", "Ann"),
            ("", "", "", "", "", "", ""),
            ("a.mp4", '"cut, slice"', "9", "left", "6", "", "Ben"),
        ],
        header="path, label,activity,view,first,last,subject",
    )
    manifest = read_csv(path, raw_dir)
    assert manifest.rows == (
        Row("10", "left", "a.mp4", "stir", subject="Ann", first=0, last=5),
        Row("10", "right", "b.mp4", "stir", subject="Ann", first=0, last=5),
        Row("9", "left", "a.mp4", "cut, slice", subject="Ben", first=6, last=None),
    )
    assert manifest.classes == ("cut, slice", "stir")
    assert [[row.view for row in rows] for rows in manifest.activities()] == [
        ["left", "right"],
        ["left"],
    ]


def test_labels_that_are_numbers_are_sorted_by_value(raw_dir: Path, tmp_path: Path) -> None:
    rows = [(f"x{n}", "1", "a.mp4", f"step {n}") for n in (10, 9, 1, 100)]
    manifest = read_csv(write_csv(tmp_path / "m.csv", rows), raw_dir)
    assert manifest.classes == ("step 1", "step 9", "step 10", "step 100")


def test_a_spreadsheet_s_byte_order_mark_is_no_column(raw_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("activity,view,path,label\r\nx,1,a.mp4,é\r\n", encoding="utf-8-sig")
    assert read_csv(path, raw_dir).classes == ("é",)


HEADER = "activity,view,path,label,subject,first,last"


@pytest.mark.parametrize(
    "header, rows, message",
    [
        ("activity,view,path", [], ":1: the header lacks label"),
        ("activity,view,path,label,colour", [], ":1: unknown column colour"),
        ("activity,view,path,label,label", [], ":1: a column stands twice"),
        (HEADER, [], "no rows below the header"),
        (HEADER, ["x,1,a.mp4,l,s,,", "x,1,b.mp4,l,s,,"], ":3: .*already in line 2"),
        (HEADER, ["x,1,a.mp4,l,s,,", "x,1,a.mp4,l,s,,"], ":3: .*already in line 2"),
        (HEADER, ["x,1,c.mp4,l,s,,"], ":2: no file .*c.mp4"),
        (HEADER, ["x,1,a.mp4,l,s,one,"], ":2: first is 'one'"),
        (HEADER, ["x,1,a.mp4,l,s,-1,"], ":2: first is '-1'"),
        (HEADER, ["x,1,a.mp4,l,s,0,2.5"], ":2: last is '2.5'"),
        (HEADER, ["x,1,a.mp4,l,s,5,4"], ":2: last frame 4 is before first frame 5"),
        (HEADER, ["x,1,a.mp4,l,s,0,11", "y,1,a.mp4,l,s,0,12"], ":3: frame 12 .* frames 0 to 11"),
        (HEADER, ["x,1,a.mp4,l,s,12,"], ":2: frame 12 is past the end"),
        (HEADER, ["x,1,a.mp4,,s,,"], ":2: empty label"),
        (HEADER, ["x,1,a.mp4, ,s,,"], ":2: empty label"),
        (HEADER, [",1,a.mp4,l,s,,"], ":2: empty activity"),
        (HEADER, ["x,1,a.mp4,l,s,,", "x,2,b.mp4,k,s,,"], ":3: .*label 'k' here and 'l' in line 2"),
        (HEADER, ["x,1,a.mp4,l,s,,", "x,2,b.mp4,l,t,,"], ":3: .*subject 't' here"),
        (HEADER, ["x,1,a.mp4,l"], ":2: 4 fields where the header has 7"),
        (HEADER, ['x,1,a.mp4,"l\nm",s,,'], ":3: label .* not shown; remove it"),
        (HEADER, ["x,1,a.mp4,l\u202e,s,,"], ":2: label .* not shown"),  # turns the rest around
        ("activity;view;path;label", ["x;1;a.mp4;l"], ":1: .* divided by ';'; save it as a CSV"),
        ("activity\tview\tpath\tlabel", ["x\t1\ta.mp4\tl"], r":1: .* divided by '\\t'; save it"),
        ("activity,view,path,label,,", ["x,1,a.mp4,l,,"], ":1: column 5 has no name; remove it"),
        (HEADER, ['x,1,a.mp4,"l,s,,'], "not a CSV"),
    ],
)
def test_a_wrong_csv_is_refused_with_its_line(
    raw_dir: Path, tmp_path: Path, header: str, rows: list[str], message: str
) -> None:
    path = write_csv(tmp_path / "m.csv", [(row,) for row in rows], header)
    with pytest.raises(InputError, match=message) as error:
        read_csv(path, raw_dir)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_a_file_that_is_no_csv_is_refused(raw_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no manifest"):
        read_csv(tmp_path / "none.csv", raw_dir)
    (tmp_path / "latin.csv").write_bytes("activity,view,path,label\nx,1,a.mp4,é".encode("latin-1"))
    with pytest.raises(InputError, match=r"is not UTF-8 .*; save it as a CSV in UTF-8"):
        read_csv(tmp_path / "latin.csv", raw_dir)
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(InputError, match="lacks activity, view, path, label"):
        read_csv(tmp_path / "empty.csv", raw_dir)


def test_the_same_video_for_two_views_is_said(
    raw_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = ["x,1,a.mp4,l,s,0,3", "x,2,./a.mp4,l,s,0,", "y,1,a.mp4,l,s,0,3", "y,2,a.mp4,l,s,4,9"]
    path = write_csv(tmp_path / "m.csv", [(row,) for row in rows], HEADER)
    assert len(read_csv(path, raw_dir).rows) == 4
    says = f"{path}: 1 views are the same video as another view of their activity; lines 2 and 3"
    assert [record.message for record in caplog.records] == [says]


def test_names_are_of_any_script(raw_dir: Path, tmp_path: Path) -> None:
    names = ("راه\u200cرفتن", "会議\u3000室", "👩\u200d🍳", "9.00.00\u202fAM")
    shutil.copy(raw_dir / "a.mp4", tmp_path / f"{names[3]}.mp4")
    rows = [(name, name, f"{names[3]}.mp4", name) for name in names]
    manifest = read_csv(write_csv(tmp_path / "m.csv", rows), tmp_path)
    assert [row.label for row in manifest.rows] == list(names)
    assert set(manifest.classes) == set(names)


def test_a_range_of_a_broken_video_is_left_to_the_build(raw_dir: Path, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "m.csv", [("x,1,broken.mp4,l,s,3,9",)], HEADER)
    assert len(read_csv(path, raw_dir).rows) == 1


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.sampled_from(["cam", "a", ""]), st.integers(0, 999)), min_size=1))
def test_natural_order_is_that_of_the_parts(parts: list[tuple[str, int]]) -> None:
    named = [part for part in parts if part[0]]
    assert sorted((f"{n}{i}" for n, i in named), key=natural) == [
        f"{n}{i}" for n, i in sorted(named)
    ]
