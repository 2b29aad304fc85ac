"""Labelled clips as a picture: a page of frames (PNG), or the clips as they play (GIF, MP4)."""

import io
import math
import os
import textwrap
from typing import NamedTuple

import av
import numpy as np
from etils import epath
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from mv2mae_jax.errors import InputError
from mv2mae_jax.model.grid import Grid, PatchSize
from mv2mae_jax.storage import to_path, write_out

Rows = dict[str, Float[np.ndarray, "T H W C"]]  # a clip by its label


class Section(NamedTuple):
    """Clips that belong together, and what they are of."""

    title: str
    rows: Rows


SUFFIXES = (".png", ".gif", ".mp4")
DPI = 110
FRAMES_PER_SECOND = 4
SIDES = {".gif": 65535, ".mp4": 16384}  # in pixels, at most: of the format, of the encoder
ACROSS = 6  # clips beside one another where they play

# Inches.
FRAME = 1.4  # height and width of a frame
GAP = 0.1  # between two frames, and around all
LABEL = 1.1  # a label beside a row of frames, or three lines above a clip that plays
LINE = 0.17  # of text
NOTE_LETTERS = 14  # an inch


def save(sections: list[Section], frame_step: int, note: str, out: epath.PathLike) -> None:
    """Writes labelled clips, by the suffix of the file as one of `SUFFIXES`.

    Args:
      sections: clips of as many frames each, [0, 1].
      frame_step: from one frame of a page to the next; where clips play, all are shown.
      note: what all of it shows.
      out: file to write, here or on object storage.

    Raises:
      InputError: it cannot be written, or is too large for what plays.
    """
    suffix = os.path.splitext(os.fspath(out))[1]
    if suffix == ".png":
        content = page(sections, frame_step, note)
    else:
        frames = playing(sections, note)
        if max(frames.shape[1:3]) > SIDES[suffix]:
            raise InputError(
                f"{out}: so many clips make pictures of {frames.shape[2]} x {frames.shape[1]} "
                f"pixels, and a side of {suffix} has at most {SIDES[suffix]}; take fewer, or name "
                "a .png"
            )
        content = gif(frames) if suffix == ".gif" else mp4(frames)
    write_out(to_path(out), content)


def page(sections: list[Section], frame_step: int, note: str, kind: str = "png") -> bytes:
    """A PNG or JPEG: each clip is a row of its frames, with its label beside it."""
    numbers = range(0, len(next(iter(sections[0].rows.values()))), frame_step)
    clips = sum(len(section.rows) for section in sections)
    width = LABEL + 2 * GAP + len(numbers) * (FRAME + GAP)
    titles = [_wrapped(section.title, width) for section in sections]
    lines = sum(map(len, titles)) + 2 * len(sections)
    figure, top = _figure(width, clips * (FRAME + GAP) + lines * LINE, note)
    for (_, rows), title in zip(sections, titles, strict=True):
        top = _heading(figure, top, title)
        for column, number in enumerate(numbers):
            x = LABEL + 2 * GAP + column * (FRAME + GAP) + FRAME / 2
            _text(figure, x, top + LINE / 2, f"frame {number + 1}", size=7)
        top += LINE
        for label, frames in rows.items():
            _text(figure, LABEL + GAP, top + FRAME / 2, label, size=8, ha="right")
            for column, number in enumerate(numbers):
                left = LABEL + 2 * GAP + column * (FRAME + GAP)
                _show(figure, left, top, frames[number])
            top += FRAME + GAP
    file = io.BytesIO()
    figure.savefig(file, format=kind, dpi=DPI)
    return file.getvalue()


def playing(sections: list[Section], note: str) -> UInt8[np.ndarray, "T H W 3"]:
    """Pictures of all clips beside one another, each with its label above it, frame by frame.

    Height and width are even, as videos want them.
    """
    labels = 3 * LINE + GAP
    across = min(ACROSS, max(len(section.rows) for section in sections))
    width = GAP + across * (FRAME + GAP)
    titles = [_wrapped(section.title, width) for section in sections]
    rows_of_clips = sum(math.ceil(len(section.rows) / across) for section in sections)
    lines = sum(map(len, titles)) + len(sections) + 2
    figure, top = _figure(width, rows_of_clips * (labels + FRAME) + lines * LINE, note)
    shown = []
    for (_, rows), title in zip(sections, titles, strict=True):
        top = _heading(figure, top, title)
        for start in range(0, len(rows), across):
            top += labels
            for column, (label, frames) in enumerate(list(rows.items())[start : start + across]):
                left = GAP + column * (FRAME + GAP)
                _text(figure, left + FRAME / 2, top - GAP / 2, label, size=8, va="bottom")
                shown.append((_show(figure, left, top, frames[0]).images[0], frames))
            top += FRAME
    count = len(shown[0][1])
    number = _text(figure, width / 2, top + LINE, "", size=8)
    canvas = FigureCanvasAgg(figure)
    pictures = []
    for time in range(count):
        number.set_text(f"frame {time + 1} of {count}")
        for image, frames in shown:
            image.set_data(np.clip(frames[time], 0, 1))
        canvas.draw()
        picture = np.asarray(canvas.buffer_rgba())[..., :3]
        height, width_ = (size // 2 * 2 for size in picture.shape[:2])
        pictures.append(picture[:height, :width_].copy())
    return np.stack(pictures)


def gif(frames: UInt8[np.ndarray, "T H W 3"]) -> bytes:
    """Frames as a GIF that plays again and again."""
    first, *others = map(Image.fromarray, frames)
    file = io.BytesIO()
    duration = 1000 // FRAMES_PER_SECOND
    first.save(file, "GIF", save_all=True, append_images=others, duration=duration, loop=0)
    return file.getvalue()


def mp4(frames: UInt8[np.ndarray, "T H W 3"]) -> bytes:
    """Frames as H.264 with subsampled colours, which every browser plays."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", FRAMES_PER_SECOND, options={"crf": "18"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def overlay(
    frames: Float[np.ndarray, "T H W C"],
    weights: Float[np.ndarray, " N"],
    patch_size: PatchSize,
    grid: Grid,
) -> Float[np.ndarray, "T H W C"]:
    """Frames darkened where the weights are low: full brightness at the largest weight."""
    p0, p1, p2 = patch_size
    volume = np.asarray(weights).reshape(grid)
    volume = volume.repeat(p0, 0).repeat(p1, 1).repeat(p2, 2) / volume.max()
    return frames * (0.12 + 0.88 * volume[..., None])


def _figure(width: float, height: float, note: str) -> tuple[Figure, float]:
    """An empty figure under its note, with so much room below it; where that begins, in inches."""
    lines = _wrapped(note, width)
    top = GAP + LINE * len(lines)
    figure = Figure(figsize=(width, top + height + GAP), dpi=DPI)
    _text(figure, width / 2, GAP, "\n".join(lines), va="top")
    return figure, top


def _wrapped(text: str, width: float) -> list[str]:
    """Lines that have room in a figure."""
    return textwrap.wrap(text, int(NOTE_LETTERS * width))


def _heading(figure: Figure, top: float, title: list[str]) -> float:
    """The title of a section, after an empty line; where it ends, in inches."""
    top += LINE
    _text(figure, 2 * GAP, top, "\n".join(title), ha="left", va="top")
    return top + len(title) * LINE


def _text(
    figure: Figure,
    x: float,
    y: float,
    text: str,
    size: int = 9,
    ha: str = "center",
    va: str = "center",
) -> Text:
    """Text at inches from the left and from the top."""
    width, height = figure.get_size_inches()
    shown = figure.text(x / width, 1 - y / height, text, size=size, ha=ha, va=va)
    shown.set_parse_math(False)  # names are not formulas
    return shown


def _show(figure: Figure, left: float, top: float, frame: Float[np.ndarray, "H W C"]) -> Axes:
    """A frame at inches from the left and from the top."""
    width, height = figure.get_size_inches()
    place = (left / width, 1 - (top + FRAME) / height, FRAME / width, FRAME / height)
    axes = figure.add_axes(place, xticks=[], yticks=[])
    axes.imshow(np.clip(frame, 0, 1))
    return axes
