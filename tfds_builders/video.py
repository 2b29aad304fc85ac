"""One view of one activity: video frames in, small JPEGs out."""

import bisect
import contextlib
import functools
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import simplejpeg
from av.container import InputContainer
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from jaxtyping import UInt8

from tfds_builders.files import open_file

SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")

Matrix = tuple[int, int, int, int]  # a, b, c, d of `_turned`


class Frames(NamedTuple):
    """Frames of a video, one after the other.

    Attributes:
      images: JPEGs (RGB, all of one size).
      times: of each, seconds after the first frame of the file, by its time stamps; by the
        rate that it declares where it has none or they do not increase; empty without either.
    """

    images: list[bytes]
    times: list[float]


class VideoError(Exception):
    """A video, or a part of it, cannot be read; the message is the reason."""


class _Missing(VideoError):
    """By the time stamps, a frame was left out."""


def count_frames(path: Path) -> int:
    """Number of frames that the container declares, or holds where it declares none.

    Raises:
      VideoError: the file is not a video.
    """
    with _open(path) as (container, stream):
        return stream.frames or sum(packet.size > 0 for packet in container.demux(stream))


def encode_frames(
    path: Path, first: int, last: int | None, *, short_side: int, quality: int
) -> Frames:
    """Decodes frames `first` to `last` (inclusive; None: the end), one JPEG each.

    Frames are made smaller until their short side is `short_side` pixels, and never larger.

    Args:
      path: video file, which may lie in a zip archive.
      first: first frame, counted from 0.
      last: last frame, inclusive, or None.
      short_side: in pixels.
      quality: of the JPEGs, 1 to 100.

    Returns:
      The frames in order of time.

    Raises:
      VideoError: the file is not a video, is damaged, or ends too early.
    """
    try:
        return _encode(path, first, last, short_side, quality, seek=True)
    except _Missing:  # a seek may lead behind a frame (open groups of pictures)
        return _encode(path, first, last, short_side, quality, seek=False)


def _encode(
    path: Path, first: int, last: int | None, short_side: int, quality: int, *, seek: bool
) -> Frames:
    images: list[bytes] = []
    stamps: list[float | None] = []
    size = matrix = None
    scaler = VideoReformatter()  # one for all frames: setting one up takes as long as scaling
    try:
        with _open(path) as (container, stream):
            aspect = float(stream.sample_aspect_ratio or 1)
            for frame in _frames(path, container, stream, first, last, seek=seek):
                matrix = matrix or _display_matrix(frame)
                image = _shrink(frame, aspect, short_side, scaler)
                image = np.ascontiguousarray(_turned(image, matrix))
                size = size or image.shape
                if image.shape != size:
                    raise VideoError(f"the frame size changes at frame {first + len(images)}")
                images.append(simplejpeg.encode_jpeg(image, quality, "RGB", "420"))
                stamps.append(frame.time)
            times = _times(path, stream, first, stamps)
    except av.FFmpegError as error:
        raise VideoError(f"broken after frame {first + len(images)}: {error.strerror}") from None
    if not images or (last is not None and len(images) <= last - first):
        wanted = "" if last is None else f" of {last - first + 1}"
        raise VideoError(f"{len(images)}{wanted} frames from frame {first} on can be decoded")
    return Frames(images, times)


def _times(
    path: Path, stream: VideoStream, first: int, stamps: Sequence[float | None]
) -> list[float]:
    """Seconds of frames from frame `first` on after the first of all; see `Frames`."""
    known = [stamp for stamp in stamps if stamp is not None]
    rate = float(stream.average_rate or 0)
    if known and len(known) == len(stamps) and all(a < b for a, b in pairwise(known)):
        begin = known[0]
        if first and (all_stamps := _frame_times(path)):
            begin = float(all_stamps[0] * (stream.time_base or 0))
        elif first and rate:
            begin -= first / rate
        return [stamp - begin for stamp in known]
    return [number / rate for number in range(first, first + len(stamps))] if rate else []


def _frames(
    path: Path,
    container: InputContainer,
    stream: VideoStream,
    first: int,
    last: int | None,
    *,
    seek: bool,
) -> Iterator[VideoFrame]:
    """The frames of a range, none of them damaged; without `last`, all that the file declares."""
    times = _frame_times(path) if first else ()
    stream.codec_context.thread_count = 1  # there is a process per core already
    if times and seek:
        container.seek(times[min(first, len(times) - 1)], stream=stream)
    # To the end of sound too: what is cut off ends before its duration in all streams.
    heard = container.streams.audio if last is None else ()
    index, hidden, end, wanted = -1, 0, 0.0, first
    for packet in container.demux(stream, *heard):
        if packet.stream.index != stream.index:
            end = max(end, float((packet.pts or 0) * packet.time_base))
            continue
        hidden += packet.is_discard  # outside of the edit list: never to be shown
        for frame in stream.decode(packet):
            index = bisect.bisect_left(times, frame.pts or 0) if times else index + 1
            if index < first:
                continue
            if index != wanted:
                raise _Missing(f"frame {wanted} cannot be decoded")
            if frame.is_corrupt:
                raise VideoError(f"frame {index} is damaged")
            yield frame
            wanted += 1
            end = max(end, frame.time or 0.0)
            if index == last:
                return
    if last is not None:
        return
    declared = len(times) or max(0, stream.frames - hidden)
    if _lacks_some(declared, index + 1):
        raise VideoError(f"{index + 1} of {declared} frames can be decoded")
    if not stream.frames and container.duration and len(container.streams) == 1 + len(heard):
        seconds = container.duration / av.time_base
        if end + 2 / float(stream.guessed_rate or 25) < 0.98 * seconds:
            raise VideoError(f"ends after {end:.1f} of {seconds:.1f} s")


def _lacks_some(declared: int, found: int) -> bool:
    """Some writers count one frame too many; what lacks more has lost its end or its middle."""
    return declared - found > max(1, declared // 100)


@functools.lru_cache(maxsize=16)
def _frame_times(path: Path) -> tuple[int, ...]:
    """Time stamps of all frames in order, to seek by frame number.

    Empty where time stamps are missing or not exact, or do not say which frame is shown when (AVI
    with B-frames), or of fewer frames than the file declares (AVI): there, frames are counted from
    the start.
    """
    with _open(path) as (container, stream):
        exact = {"mp4", "matroska"}
        if not stream.codec_context.has_b_frames:
            exact.add("avi")
        formats = set(container.format.name.split(","))
        if not exact & formats:
            return ()
        packets = [p for p in container.demux(stream) if p.size and not p.is_discard]
        times = {packet.pts for packet in packets}
        if None in times or len(times) < len(packets):
            return ()
        if "avi" in formats and _lacks_some(stream.frames, len(packets)):
            return ()
        return tuple(sorted(time for time in times if time is not None))


@contextlib.contextmanager
def _open(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    try:
        container = av.open(open_file(path), "r", metadata_errors="replace")
    except av.FFmpegError as error:
        raise VideoError(f"not a video, or its header is broken: {error.strerror}") from None
    except OSError as error:
        raise VideoError(str(error)) from None
    with container:
        if not container.streams.video:
            raise VideoError("no video stream in this file")
        if container.streams.video[0].codec_context is None:
            raise VideoError("its video is of a codec that is not known here")
        yield container, container.streams.video[0]


def _shrink(
    frame: VideoFrame, aspect: float, short_side: int, scaler: VideoReformatter
) -> UInt8[np.ndarray, "H W 3"]:
    """The frame in RGB, as small as asked for, of square pixels.

    Each pixel is the mean of those that it covers, which are `aspect` times as wide as high.
    """
    width, height = aspect * frame.width, frame.height
    scale = min(1.0, short_side / min(width, height))
    return scaler.reformat(
        frame,
        width=round(width * scale),
        height=round(height * scale),
        format="rgb24",
        interpolation="AREA",
        threads=1,
    ).to_ndarray()


def _display_matrix(frame: VideoFrame) -> Matrix:
    """Of the video, by its first frame: what is asked for this is freed late, being a cycle.

    Phones store upright video sideways, or mirrored, and say so in the file.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if not isinstance(matrix, SideData):
        return 1, 0, 0, 1
    (a, b, _), (c, d, _), _ = np.frombuffer(bytes(matrix), np.int32).reshape(3, 3).tolist()
    return a, b, c, d


def _turned(image: UInt8[np.ndarray, "h w 3"], matrix: Matrix) -> UInt8[np.ndarray, "H W 3"]:
    """As it is to be shown: (x, y) at (a x + c y, b x + d y), but for where that begins."""
    a, b, c, d = matrix
    if abs(b) > abs(a):
        image, a, d = image.transpose(1, 0, 2), c, b
    return image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
