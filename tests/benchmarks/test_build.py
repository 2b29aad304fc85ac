"""The benchmark of building counts the same frames on both sides, and says what it ran beside."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import build as benchmark

FRAMES = 6


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return benchmark._make_videos(tmp_path_factory.mktemp("videos"), FRAMES)


def fake_ffmpeg(folder: Path, frames: int, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program on the PATH that claims to have decoded some frames; returns what it was told."""
    program, told = folder / "ffmpeg", folder / "told"
    version = f'echo "ffmpeg version 7.0 Copyright"; echo "$@" >> {told}'
    program.write_text(f"#!/bin/sh\n{version}\nfor n in 1 {frames}; do echo frame=$n; done\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return told


def test_measures_both_kinds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    file = tmp_path / "rates.json"
    assert benchmark.main([f"--frames={FRAMES}", "--rounds=2", f"--json={file}"]) == 0
    report = json.loads(file.read_text())
    printed = capsys.readouterr().out
    assert report["ffmpeg"].endswith("by PyAV") and report["ffmpeg"] in printed
    assert [video["codec"] for video in report["videos"]] == ["mpeg4", "h264"]
    for video in report["videos"]:
        assert (video["width"], video["height"], video["frames"]) == (1920, 1080, FRAMES)
        for rate in ("records", "ffmpeg", "ratio"):
            assert 0 < video[rate]["min"] <= video[rate]["median"] <= video[rate]["max"]
            assert video[rate]["measurements"] == 2
        assert video["ffmpeg"]["min"] * video["ratio"]["min"] <= video["records"]["max"]
        assert f"{video['codec']}, 1920 x 1080" in printed


def test_the_program_is_taken_where_there_is_one(
    videos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = fake_ffmpeg(tmp_path, FRAMES, monkeypatch)
    report = benchmark.measure(videos[:1], rounds=1)
    assert report["ffmpeg"] == "ffmpeg 7.0"
    *_, call = told.read_text().splitlines()
    assert f"-threads 1 -i {videos[0]} " in call and "scale=256:144:flags=area" in call


def test_frames_that_ffmpeg_does_not_find_are_an_error(
    videos: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fake_ffmpeg(tmp_path, FRAMES - 1, monkeypatch)
    assert benchmark.main([str(videos[0])]) == 1
    assert f"{FRAMES} frames in the records, {FRAMES - 1} by ffmpeg" in capsys.readouterr().err


def test_what_is_no_video_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.avi").write_text("no video")
    assert benchmark.main([str(tmp_path / "a.avi")]) == 1
    assert f"error: {tmp_path / 'a.avi'}: not a video" in capsys.readouterr().err


def test_processor_time_includes_that_of_programs() -> None:
    busy = "import time\nwhile time.process_time() < 0.2: pass"
    assert benchmark._core_seconds(lambda: subprocess.run([sys.executable, "-c", busy])) > 0.19
    assert benchmark._core_seconds(lambda: sum(range(1000))) < 0.1
