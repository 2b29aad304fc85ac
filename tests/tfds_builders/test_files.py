"""Files and the members of zip archives, found, opened and told apart alike."""

import zipfile
from pathlib import Path

import pytest
from videos import moving_pattern, write_video

from mv2mae_jax.errors import InputError
from tfds_builders import files
from tfds_builders.ntu import layout
from tfds_builders.video import VideoError, encode_frames

NAME = "S001C001P001R001A001_rgb.avi"


def write_zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_files_are_found_in_a_fixed_order_through_links_and_archives(tmp_path: Path) -> None:
    for name in ("raw/b/2.avi", "raw/b/1.AVI", "raw/a.txt", "raw/c/d/3.mp4", "elsewhere/4.mkv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "raw/link").symlink_to(tmp_path / "elsewhere")
    write_zip(tmp_path / "raw/b/3.ZIP", {"x/6.avi": b"", "x/5.avi": b"", "x/y/": b""})
    found = files.find_files(tmp_path / "raw")
    assert found.paths == [
        *("a.txt", "b/1.AVI", "b/2.avi", "b/3.ZIP/x/5.avi", "b/3.ZIP/x/6.avi"),
        *("c/d/3.mp4", "link/4.mkv"),
    ]
    assert found.unused == []
    assert all(files.exists(tmp_path / "raw" / path) for path in found.paths)
    assert not files.exists(tmp_path / "raw/b/3.ZIP/x/7.avi")
    with pytest.raises(InputError, match="no directory"):
        files.find_files(tmp_path / "raw/a.txt")


@pytest.mark.parametrize("name", ["/etc/1.avi", "../1.avi", "a/../../1.avi", "..\\1.avi"])
def test_a_member_that_leads_out_of_its_archive_is_refused(tmp_path: Path, name: str) -> None:
    write_zip(tmp_path / "a.zip", {"good.avi": b"", name: b""})
    paths, unused = files.find_files(tmp_path)
    assert paths == ["a.zip/good.avi"]
    (refused,) = unused
    assert refused.path == f"a.zip/{name}" and "leads out of the archive" in refused.reason


def test_names_that_begin_in_this_folder_are_those_without(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", {"./in//1.avi": b"1"})
    assert files.find_files(tmp_path) == (["a.zip/in/1.avi"], [])
    assert files.exists(archive / "in/1.avi") and files.fingerprint(archive / "in/1.avi")[0] == 1
    assert files.open_file(archive / "in/1.avi").getvalue() == b"1"


def test_what_is_called_an_archive_and_is_none_is_named(tmp_path: Path) -> None:
    good = write_zip(tmp_path / "good.zip", {NAME: b"x" * 1000}).read_bytes()
    (tmp_path / "cut.zip").write_bytes(good[:500])
    (tmp_path / "text.zip").write_text("hello")
    listed = good.index(b"PK\x01\x02")
    newer = good[: listed + 6] + b"\x63" + good[listed + 7 :]  # needs version 9.9
    (tmp_path / "newer.zip").write_bytes(newer)
    other = write_zip(tmp_path / "name.zip", {"\xe9.avi": b""}).read_bytes()
    (tmp_path / "name.zip").write_bytes(other.replace("\xe9".encode(), b"\xff\xfe"))
    manifest = layout.read(tmp_path)
    assert [row.path for row in manifest.rows] == [f"good.zip/{NAME}"]
    assert [item.path for item in manifest.unused] == [
        *("cut.zip", "name.zip", "newer.zip", "text.zip")
    ]
    assert all("not a readable zip archive" in item.reason for item in manifest.unused)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
def test_a_video_in_an_archive_gives_the_same_frames(
    tmp_path: Path, method: int, codec: str
) -> None:
    suffix = ".avi" if codec == "mpeg4" else ".mp4"
    video = write_video(tmp_path / f"a{suffix}", moving_pattern(12, 48, 64), codec)
    write_zip(tmp_path / "a.zip", {f"in/a{suffix}": video.read_bytes()}, method)
    for first, last in ((0, None), (3, 8)):
        plain, zipped = (
            encode_frames(path, first, last, short_side=32, quality=90)
            for path in (video, tmp_path / f"a.zip/in/a{suffix}")
        )
        assert zipped == plain


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_a_damaged_or_missing_member_is_a_broken_video(tmp_path: Path, method: int) -> None:
    video = write_video(tmp_path / "a.avi", moving_pattern(12, 48, 64)).read_bytes()
    archive = write_zip(tmp_path / "a.zip", {"a.avi": video}, method)
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 0xFF
    archive.write_bytes(content)
    for name, reason in (("a.avi", "damaged or encrypted"), ("b.avi", "no b.avi in ")):
        with pytest.raises(VideoError, match=reason):
            encode_frames(archive / name, 0, None, short_side=32, quality=90)


def test_a_fingerprint_follows_the_content(tmp_path: Path) -> None:
    one = write_zip(tmp_path / "1.zip", {"a.avi": b"1", "b.avi": b"2"})
    other = write_zip(tmp_path / "2.zip", {"a.avi": b"1", "b.avi": b"3"})
    same, changed = (
        files.fingerprint(one / name) == files.fingerprint(other / name)
        for name in ("a.avi", "b.avi")
    )
    assert same and not changed
    (tmp_path / "plain.avi").write_bytes(b"123")
    assert files.fingerprint(tmp_path / "plain.avi")[0] == 3


def test_text_is_read_whatever_it_is(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf1,2,3\r\n\xff"
    (tmp_path / "1.txt").write_bytes(content)
    write_zip(tmp_path / "1.zip", {"1.txt": content})
    for path in (tmp_path / "1.txt", tmp_path / "1.zip/1.txt"):
        assert files.read_text(path).splitlines() == ["1,2,3", "\ufffd"]
    for path in (tmp_path / "2.txt", tmp_path / "1.zip/2.txt"):
        with pytest.raises(InputError, match=r"2\.txt cannot be read: [Nn]o "):
            files.read_text(path)
