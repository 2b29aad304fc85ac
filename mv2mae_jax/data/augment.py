"""Crops and flips of uint8 clips for training, and their scaling for testing."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict

# A crop within this many pixels of the wanted size is taken at the wanted size, so that nothing
# is resampled for so little.
_SNAP = 2

# Where a crop can lie, in quarters of the room left of it and above it: corners and centre, the
# middles of the sides, and halfway between corner and centre.
_OFFSETS = (
    *((0, 0), (4, 0), (0, 4), (4, 4), (2, 2)),
    *((0, 2), (4, 2), (2, 4), (2, 0)),
    *((1, 1), (3, 1), (1, 3), (3, 3)),
)

_TRIES = 10  # of torchvision's RandomResizedCrop


class Box(NamedTuple):
    """A crop: its upper left corner and its size, pixels."""

    x: int
    y: int
    width: int
    height: int


class CropDraw(NamedTuple):
    """A random crop before it meets a frame size: scales of the short side, place, mirrored."""

    width_scale: float
    height_scale: float
    offset: tuple[int, int]
    mirrored: bool


class ResizedCropDraw(NamedTuple):
    """A random resized crop before it meets a frame size.

    Attributes:
      tries: share of the frame's area, and width to height; the first that fits is taken.
      offset: in [0, 1), how far right and how far down of the room there is.
      aspects: least and greatest width to height, for a frame that none fits.
      mirrored: left and right are swapped.
    """

    tries: tuple[tuple[float, float], ...]
    offset: tuple[float, float]
    aspects: tuple[float, float]
    mirrored: bool


Crop = CropDraw | ResizedCropDraw


def draw_crop(rng: np.random.Generator, scales: Sequence[float], flip: bool) -> CropDraw:
    """Draws a crop of MultiScaleCrop (Wang et al., 2016; Table 15), mirrored half of the time.

    Width and height are scales of the short side, at most one step of the list apart, so that
    the shape changes little; the place is one of 13.

    Args:
      rng: draws it.
      scales: of the short side, from large to small.
      flip: False: never mirrored.
    """
    steps = range(len(scales))
    pairs = [(w, h) for w in steps for h in steps if abs(w - h) <= 1]
    width, height = pairs[rng.integers(len(pairs))]
    offset = _OFFSETS[rng.integers(len(_OFFSETS))]
    return CropDraw(scales[width], scales[height], offset, flip and bool(rng.integers(2)))


def draw_resized_crop(
    rng: np.random.Generator,
    area: tuple[float, float],
    aspect: tuple[float, float],
    flip: bool,
) -> ResizedCropDraw:
    """Draws a crop as torchvision's RandomResizedCrop does, mirrored half of the time.

    Args:
      rng: draws it.
      area: least and greatest share of the frame's area.
      aspect: least and greatest width to height, between which its logarithm is uniform.
      flip: False: never mirrored.
    """
    areas = rng.uniform(area[0], area[1], _TRIES)
    aspects = np.exp(rng.uniform(math.log(aspect[0]), math.log(aspect[1]), _TRIES))
    tries = tuple(zip(areas.tolist(), aspects.tolist(), strict=True))
    across, down = rng.random(2).tolist()
    return ResizedCropDraw(tries, (across, down), aspect, flip and bool(rng.integers(2)))


# By their name in `config.data.crop`; each is drawn as `config.data` says.
CROPS: Mapping[str, Callable[[np.random.Generator, ConfigDict], Crop]] = {
    "multi_scale": lambda rng, data: draw_crop(rng, data.crop_scales, data.flip),
    "random_resized": lambda rng, data: draw_resized_crop(
        rng, data.crop_area, data.crop_aspect, data.flip
    ),
}


def crop_box(draw: Crop, height: int, width: int, size: int) -> Box:
    """The box that a draw means in a frame of `height` x `width`, to be resized to `size`."""
    if isinstance(draw, ResizedCropDraw):
        return _resized_crop_box(draw, height, width)
    short = min(height, width)
    box_width = _snap(max(1, int(short * draw.width_scale)), short, size)
    box_height = _snap(max(1, int(short * draw.height_scale)), short, size)
    across, down = draw.offset
    return Box(
        x=across * ((width - box_width) // 4),
        y=down * ((height - box_height) // 4),
        width=box_width,
        height=box_height,
    )


def random_crop(
    clip: UInt8[np.ndarray, "T H W C"],
    draw: Crop,
    out: UInt8[np.ndarray, "T size size C"],
) -> None:
    """Cuts the drawn box out of every frame and resizes it bilinearly, into `out`."""
    (height, width), size = clip.shape[1:3], out.shape[1]
    box = crop_box(draw, height, width, size)
    cut = clip[:, box.y : box.y + box.height, box.x : box.x + box.width]
    if cut.shape == out.shape:
        out[:] = cut
    else:
        for frame, resized in zip(cut, out, strict=True):
            cv2.resize(frame, (size, size), resized, interpolation=cv2.INTER_LINEAR)
    if draw.mirrored:
        out[:] = _mirror(out)


def fit_for_crops(
    frames: UInt8[np.ndarray, "T H W C"], size: int, crops: int
) -> UInt8[np.ndarray, "T h w C"]:
    """Scales frames to what the test crops of `size` are cut from (`evaluation/crops.py`).

    One crop is the largest central square, so that is all that is left. Several are squares of
    7/8 of the short side, as is usual (224 of 256 pixels), so that they differ in all directions;
    frames whose short side is nearly that are not resampled (of 144 pixels crops of 128 are 8/9).
    """
    if crops > 1:
        return _resize_short_side(frames, round(size * 8 / 7), size)
    frames = _resize_short_side(frames, size, size)
    top, left = (frames.shape[1] - size) // 2, (frames.shape[2] - size) // 2
    return frames[:, top : top + size, left : left + size]


def _resized_crop_box(draw: ResizedCropDraw, height: int, width: int) -> Box:
    """The first try that fits; if none does, the largest central box of a permitted shape."""
    for area, aspect in draw.tries:
        pixels = area * height * width
        box_width, box_height = round(math.sqrt(pixels * aspect)), round(math.sqrt(pixels / aspect))
        if 0 < box_width <= width and 0 < box_height <= height:
            across, down = draw.offset
            x = int(across * (width - box_width + 1))
            y = int(down * (height - box_height + 1))
            return Box(x, y, box_width, box_height)
    least, greatest = draw.aspects
    box_width = min(width, max(1, round(height * greatest)))
    box_height = min(height, max(1, round(width / least)))
    return Box((width - box_width) // 2, (height - box_height) // 2, box_width, box_height)


def _mirror(clips: UInt8[np.ndarray, "*N H W C"]) -> UInt8[np.ndarray, "*N H W C"]:
    """Swaps left and right of all frames; in OpenCV, as a reversed slice copies byte by byte."""
    rows = clips.reshape(-1, *clips.shape[-2:])
    return cv2.flip(rows, 1).reshape(clips.shape)


def _resize_short_side(
    clip: UInt8[np.ndarray, "T H W C"], short: int, at_least: int
) -> UInt8[np.ndarray, "T h w C"]:
    """Scales frames to a short side of `short`, unless theirs is nearly that already."""
    height, width = clip.shape[1:3]
    scale = short / min(height, width)
    if abs(min(height, width) - short) <= _SNAP and min(height, width) >= at_least:
        return clip
    wanted = (max(short, round(width * scale)), max(short, round(height * scale)))
    return np.stack([cv2.resize(f, wanted, interpolation=cv2.INTER_LINEAR) for f in clip])


def _snap(length: int, limit: int, size: int) -> int:
    """`length`, or `size` if that is nearly the same and possible."""
    return size if abs(length - size) <= _SNAP and size <= limit else length
