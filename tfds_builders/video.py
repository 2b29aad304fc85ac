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
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from jaxtyping import UInt8

from tfds_builders.files import open_file

SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")


class Frames(NamedTuple):
    """Frames of a video, one after the other.

    Attributes:
        images: JPEGs (RGB, all of one size).
        times: Of each, seconds after the first, by the time stamps of the file; empty where it has
            none or they do not increase.
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
        VideoError: The file is not a video.
    """
    with _open(path) as (container, stream):
        return stream.frames or sum(packet.size > 0 for packet in container.demux(stream))


def encode_frames(
    path: Path, first: int, last: int | None, *, short_side: int, quality: int
) -> Frames:
    """Decodes frames `first` to `last` (inclusive; None: the end), one JPEG each.

    Frames are made smaller until their short side is `short_side` pixels, and never larger.

    Args:
        path: Video file, which may lie in a zip archive.
        first: First frame, counted from 0.
        last: Last frame, inclusive, or None.
        short_side: In pixels.
        quality: Of the JPEGs, 1 to 100.

    Returns:
        The frames in order of time.

    Raises:
        VideoError: The file is not a video, is damaged, or ends too early.
    """
    try:
        return _encode(path, first, last, short_side, quality, seek=True)
    except _Missing:  # a seek may lead behind a frame (open groups of pictures)
        return _encode(path, first, last, short_side, quality, seek=False)


def _encode(
    path: Path, first: int, last: int | None, short_side: int, quality: int, *, seek: bool
) -> Frames:
    images: list[bytes] = []
    times: list[float | None] = []
    size = None
    scaler = VideoReformatter()  # one for all frames: setting one up takes as long as scaling
    try:
        for frame in _frames(path, first, last, seek=seek):
            image = _shrink(frame, short_side, scaler)
            size = size or image.shape
            if image.shape != size:
                raise VideoError(f"the frame size changes at frame {first + len(images)}")
            images.append(simplejpeg.encode_jpeg(image, quality, "RGB", "420"))
            times.append(frame.time)
    except av.FFmpegError as error:
        raise VideoError(f"broken after frame {first + len(images)}: {error.strerror}") from None
    if not images or (last is not None and len(images) <= last - first):
        wanted = "" if last is None else f" of {last - first + 1}"
        raise VideoError(f"{len(images)}{wanted} frames from frame {first} on can be decoded")
    return Frames(images, _after_the_first(times))


def _after_the_first(times: Sequence[float | None]) -> list[float]:
    known = [time for time in times if time is not None]
    if len(known) < len(times) or any(later <= time for time, later in pairwise(known)):
        return []
    return [time - known[0] for time in known]


def _frames(path: Path, first: int, last: int | None, *, seek: bool) -> Iterator[VideoFrame]:
    """The frames of a range, none of them damaged; without `last`, all that the file declares."""
    times = _frame_times(path) if first else ()
    with _open(path) as (container, stream):
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
    frame: VideoFrame, short_side: int, scaler: VideoReformatter
) -> UInt8[np.ndarray, "H W 3"]:
    """The frame upright, in RGB, as small as asked for; each pixel the mean of those it covers."""
    scale = min(1.0, short_side / min(frame.width, frame.height))
    image = scaler.reformat(
        frame,
        width=round(frame.width * scale),
        height=round(frame.height * scale),
        format="rgb24",
        interpolation="AREA",
        threads=1,
    ).to_ndarray()
    # Phones store upright video sideways and say so in the file; degrees, counterclockwise.
    return np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90)))
