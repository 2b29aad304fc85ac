"""How fast videos become records, beside ffmpeg decoding and scaling the same files alone.

python -m benchmarks.build [--json FILE] [VIDEO ...]

Without videos it makes two, 1080p, a moving texture with a camera's noise: MPEG-4 in AVI, as NTU
RGB+D has it, and H.264 in MP4, as ETRI-Activity3D. Building is all that is done for a video, from
the file to the written record. ffmpeg is the program on the PATH, or else its libraries, which
building uses too. Both work in one process with one thread, in turns, and rates are frames per
second of processor time: of a core that has nothing else to do.
"""

import argparse
import contextlib
import csv
import io
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import simplejpeg
from av.video.reformatter import VideoReformatter
from tabulate import tabulate

from benchmarks import common
from benchmarks.videos import write_video
from mv2mae_jax.command_line import Parser
from mv2mae_jax.errors import InputError
from tfds_builders import encoding
from tfds_builders.manifest_data.manifest_data_dataset_builder import Builder

Size = tuple[int, int]  # height and width

BITS = 4_000_000  # a second, of the videos made here


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints; returns the exit code."""

    def measure_videos(arguments: argparse.Namespace) -> common.Report:
        with tempfile.TemporaryDirectory() as folder:
            videos = arguments.videos or _make_videos(Path(folder), arguments.frames)
            return measure(videos, arguments.rounds)

    return common.run(_arguments(argv), None, measure_videos, lambda report: print(table(report)))


def measure(videos: Sequence[Path], rounds: int) -> dict[str, Any]:
    """Everything, as the JSON file has it.

    Args:
        videos: Each is measured alone.
        rounds: Measurements of each, after one that does not count.

    Raises:
        InputError: A video cannot be used.
    """
    return {
        "machine": common.machine(),
        "ffmpeg": _name_of_ffmpeg(),
        "videos": [_measure_video(video, rounds) for video in videos],
    }


def table(report: dict[str, Any]) -> str:
    """A report for people."""
    rows = [
        [
            f"{video['video']}: {video['codec']}, {video['width']} x {video['height']}, "
            f"{video['megabits_per_second']:.1f} Mbit/s, {video['frames']} frames",
            *_span(video["records"], ".0f"),
            *_span(video["ffmpeg"], ".0f"),
            *_span(video["ratio"], ".0%"),
        ]
        for video in report["videos"]
    ]
    heads = ["", "records", "", "ffmpeg", "", "ratio", ""]
    return "\n".join(
        [
            common.machine_line(report["machine"]),
            f"frames a second of one core, beside {report['ffmpeg']}",
            tabulate(rows, heads, disable_numparse=True, colalign=("left", *("right", "left") * 3)),
        ]
    )


def _measure_video(video: Path, rounds: int) -> dict[str, Any]:
    plain = _by_program if shutil.which("ffmpeg") else _by_libraries
    frames, size = _build(video)
    if (found := plain(video, size)) != frames:
        raise InputError(f"{video}: {frames} frames in the records, {found} by ffmpeg")
    records, beside = [], []
    for _ in range(rounds):
        records.append(frames / _core_seconds(lambda: _build(video)))
        beside.append(frames / _core_seconds(lambda: plain(video, size)))
    with av.open(str(video)) as container:
        codec = container.streams.video[0].codec_context
        return {
            "video": video.name,
            "codec": codec.name,
            "width": codec.width,
            "height": codec.height,
            "megabits_per_second": container.bit_rate / 1e6,
            "frames": frames,
            "records": common.spread(records),
            "ffmpeg": common.spread(beside),
            "ratio": common.spread([a / b for a, b in zip(records, beside, strict=True)]),
        }


def _build(video: Path) -> tuple[int, Size]:
    """Builds the records of one video; returns number and size of their frames.

    What a decoding process does, and then what the process that writes records does.
    """
    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(folder) / "videos.csv"
        with manifest.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["activity", "view", "path", "label"])
            rows.writerow(["activity", "view", video.name, "label"])
        raw_dir = video.parent
        builder = Builder(manifest_csv=manifest, name="video", raw_dir=raw_dir, data_dir=folder)
        (activity,) = builder.manifest(raw_dir).activities()
        path = encoding.cache_path(builder._cache, raw_dir, activity, builder.settings)
        encoded = encoding.encode_activity(path, raw_dir, activity, builder.settings)
        if encoded.broken:
            raise InputError(f"{video}: {encoded.broken[0].reason}")
        first, *_ = encoded.frames()
        height, width, *_ = simplejpeg.decode_jpeg_header(first)
        with contextlib.redirect_stderr(io.StringIO()):  # the progress of a second
            report = builder.build()
    assert report is not None
    return report.frames, (height, width)


def _by_program(video: Path, size: Size) -> int:
    """Decodes and scales with the program; returns the number of frames."""
    height, width = size
    words = ["ffmpeg", "-nostdin", "-v", "error", "-progress", "-", "-filter_threads", "1"]
    words += ["-threads", "1", "-i", str(video), "-an", "-fps_mode", "passthrough"]
    words += ["-vf", f"scale={width}:{height}:flags=area,format=rgb24", "-f", "null", "-"]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise InputError(f"ffmpeg: {done.stderr.strip()}")
    counts = [line for line in done.stdout.splitlines() if line.startswith("frame=")]
    return int(counts[-1].removeprefix("frame="))


def _by_libraries(video: Path, size: Size) -> int:
    """The same through PyAV."""
    height, width = size
    scaler = VideoReformatter()
    frames = 0
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for frame in container.decode(stream):
            scaler.reformat(frame, width, height, "rgb24", interpolation="AREA", threads=1)
            frames += 1
    return frames


def _name_of_ffmpeg() -> str:
    if shutil.which("ffmpeg") is None:
        return f"FFmpeg {av.ffmpeg_version_info}, by PyAV"
    done = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True, check=True)
    return " ".join(done.stdout.split()[:3:2])


def _core_seconds(work: Callable[[], object]) -> float:
    """Processor time that some work takes, in this process and those that it waits for."""

    def used() -> float:
        usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return sum(usage.ru_utime + usage.ru_stime for usage in usages)

    start = used()
    work()
    return used() - start


def _make_videos(folder: Path, frames: int) -> list[Path]:
    kinds = {"a.avi": ("mpeg4", {"g": "12"}), "a.mp4": ("libx264", {"preset": "medium"})}
    for name, (codec, options) in kinds.items():
        write_video(
            folder / name,
            np.random.default_rng(0),
            height=1080,
            frames=frames,
            codec=codec,
            options={"b": str(BITS), **options},
            noise=3,
        )
    return [folder / name for name in kinds]


def _span(summary: dict[str, float], form: str) -> tuple[str, str]:
    """A median, and the range it is from."""
    return f"{summary['median']:{form}}", f"{summary['min']:{form}} to {summary['max']:{form}}"


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("videos", type=Path, nargs="*", metavar="VIDEO", help="default: make two")
    parser.add_argument("--frames", type=int, default=300, help="of the videos that are made")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each")
    parser.add_argument("--json", type=Path, help="write the measurements there too")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
