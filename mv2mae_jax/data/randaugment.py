"""RandAugment (Cubuk et al., 2020) of whole clips, as VideoMAE's fine-tuning applies it.

The setting is timm's `rand-m7-n4-mstd0.5-inc1`: operations are drawn from 15, with replacement;
each is applied half of the time, with a strength that varies around the magnitude, to all frames
of a clip alike. They are Pillow's operations, within one level, made of OpenCV's and so several
times as fast. What an operation measures (the range, histogram or mean of the levels) it measures
in each frame, as Pillow does frame by frame.

Pixels are resampled bilinearly. timm knows bilinear and bicubic, and VideoMAE sets bicubic; but
OpenCV's bicubic kernel is not Pillow's (a = -0.75 and not -1) and three times as slow.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

Clip = UInt8[np.ndarray, "T H W 3"]

PROBABILITY = 0.5  # that a drawn operation is applied
FILL = 128  # of what comes into the picture from outside

# OpenCV rounds where Pillow cuts off: this makes it round down, but whole numbers stay.
_ROUND_DOWN = -0.499
_LUMA = (0.299, 0.587, 0.114)
_LEVELS = np.arange(256)


class Operation(NamedTuple):
    """One step of RandAugment.

    Attributes:
      name: a key of `OPERATIONS`.
      amount: strength from -1 to 1; the sign is a direction, where the operation has one.
    """

    name: str
    amount: float


def draw_operations(
    rng: np.random.Generator, operations: int, magnitude: float, std: float
) -> tuple[Operation, ...]:
    """Draws what is done to a clip.

    Args:
      rng: draws it; untouched if there are no operations.
      operations: how many are drawn; half of them, on average, are applied.
      magnitude: mean strength, of 10.
      std: standard deviation of the strength, which never leaves 0 to 10.

    Returns:
      The operations that are applied, in order.
    """
    names = tuple(OPERATIONS)
    drawn = []
    for _ in range(operations):
        name = names[rng.integers(len(names))]
        strength = float(np.clip(rng.normal(magnitude, std), 0, 10)) / 10
        sign = 1 if rng.integers(2) else -1
        if rng.random() < PROBABILITY:
            drawn.append(Operation(name, sign * strength))
    return tuple(drawn)


def randaugment(clip: Clip, operations: tuple[Operation, ...]) -> Clip:
    """Applies the drawn operations, one after the other."""
    for name, amount in operations:
        clip = OPERATIONS[name](clip, amount)
    return clip


def _auto_contrast(clip: Clip, amount: float) -> Clip:
    """Stretches the levels of each frame and channel to the whole range."""
    del amount
    lines = clip.reshape(*clip.shape[:2], -1)
    low, high = (
        extreme(lines, axis=1).reshape(len(clip), -1, 1, 3) for extreme in (np.min, np.max)
    )
    low, high = low.min(axis=1).astype(int), high.max(axis=1).astype(int)
    scale = 255 / np.maximum(high - low, 1)
    levels = _LEVELS[:, np.newaxis]
    stretched = np.clip(levels * scale + -low * scale, 0, 255)
    return _look_up_each(clip, np.where(high > low, stretched, levels).astype(np.uint8))


def _equalize(clip: Clip, amount: float) -> Clip:
    """Makes the histogram of each frame and channel as flat as a table of levels can."""
    del amount
    counts = np.stack([_histogram(frame) for frame in clip])
    below = np.cumsum(counts, axis=1) - counts
    below_highest = np.max(below, axis=1, keepdims=True, where=counts > 0, initial=0)
    step = below_highest // 255
    table = (step // 2 + below) // np.maximum(step, 1)
    table = np.where(step > 0, table, _LEVELS[:, np.newaxis])
    return _look_up_each(clip, np.minimum(table, 255).astype(np.uint8))


def _invert(clip: Clip, amount: float) -> Clip:
    del amount
    return _look_up(clip, 255 - _LEVELS)


def _posterize(clip: Clip, amount: float) -> Clip:
    """Keeps the upper 4 to 0 bits."""
    bits = 4 - int(4 * abs(amount))
    return _look_up(clip, _LEVELS & ~(2 ** (8 - bits) - 1))


def _solarize(clip: Clip, amount: float) -> Clip:
    """Inverts the levels from a threshold on."""
    threshold = 256 - int(256 * abs(amount))
    return _look_up(clip, np.where(threshold > _LEVELS, _LEVELS, 255 - _LEVELS))


def _solarize_add(clip: Clip, amount: float) -> Clip:
    """Brightens the lower half of the levels, by up to 110."""
    brighter = np.minimum(_LEVELS + int(110 * abs(amount)), 255)
    return _look_up(clip, np.where(_LEVELS < 128, brighter, _LEVELS))


def _color(clip: Clip, amount: float) -> Clip:
    """Towards grey, or away from it."""
    factor = _enhancement(amount)
    to_grey = np.tile(_LUMA, (3, 1))
    matrix = factor * np.eye(3) + (1 - factor) * to_grey
    matrix = np.column_stack([matrix, np.full(3, _ROUND_DOWN)])
    return cv2.transform(_rows(clip), matrix).reshape(clip.shape)


def _contrast(clip: Clip, amount: float) -> Clip:
    """Towards the mean grey of each frame, or away from it."""
    grey = [int(cv2.mean(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY))[0] + 0.5) for frame in clip]
    tables = _blended(np.array(grey)[:, np.newaxis], _enhancement(amount))
    return np.stack([cv2.LUT(*pair) for pair in zip(clip, tables, strict=True)])


def _brightness(clip: Clip, amount: float) -> Clip:
    """Towards black, or away from it."""
    return _look_up(clip, _blended(np.zeros(1, int), _enhancement(amount)))


def _sharpness(clip: Clip, amount: float) -> Clip:
    """Towards a smoothed frame, or away from it; the outermost pixels stay."""
    factor = _enhancement(amount)
    kernel = np.full((3, 3), (1 - factor) / 13)
    kernel[1, 1] = 5 * (1 - factor) / 13 + factor
    filtered = cv2.filter2D(_rows(clip), -1, kernel, delta=_ROUND_DOWN).reshape(clip.shape)
    filtered[:, [0, -1]] = clip[:, [0, -1]]
    filtered[:, :, [0, -1]] = clip[:, :, [0, -1]]
    return filtered


def _rotate(clip: Clip, amount: float) -> Clip:
    """By up to 30 degrees about the centre.

    Rounded as Pillow does it, for at 30 degrees pixels may come from the very edge.
    """
    x, y = clip.shape[2] / 2, clip.shape[1] / 2
    angle = math.radians(30 * amount % 360)
    cos, sin = round(math.cos(angle), 15), round(math.sin(angle), 15)
    return _warp(
        clip, np.array([[cos, -sin, cos * -x + sin * y + x], [sin, cos, sin * -x + cos * -y + y]])
    )


def _shear_x(clip: Clip, amount: float) -> Clip:
    """By up to 0.3 pixels a row."""
    return _warp(clip, np.array([[1, 0.3 * amount, 0], [0, 1, 0]]))


def _shear_y(clip: Clip, amount: float) -> Clip:
    """By up to 0.3 pixels a column."""
    return _warp(clip, np.array([[1, 0, 0], [0.3 * amount, 1, 0]]))


def _translate_x(clip: Clip, amount: float) -> Clip:
    """By up to 0.45 of the width."""
    return _translate(clip, 0.45 * amount * clip.shape[2], axis=1)


def _translate_y(clip: Clip, amount: float) -> Clip:
    """By up to 0.45 of the height."""
    return _translate(clip, 0.45 * amount * clip.shape[1], axis=0)


OPERATIONS: dict[str, Callable[[Clip, float], Clip]] = {
    "auto_contrast": _auto_contrast,
    "equalize": _equalize,
    "invert": _invert,
    "rotate": _rotate,
    "posterize": _posterize,
    "solarize": _solarize,
    "solarize_add": _solarize_add,
    "color": _color,
    "contrast": _contrast,
    "brightness": _brightness,
    "sharpness": _sharpness,
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
}


def _warp(clip: Clip, matrix: Float[np.ndarray, "2 3"]) -> Clip:
    """Fetches every pixel from the place that the matrix maps its centre to.

    Pillow's rule for edges: within the frame the outermost pixels are repeated, beyond it is fill.
    """
    height, width = clip.shape[1:3]
    y, x = np.ogrid[0.5:height, 0.5:width]
    from_x, from_y = (a * x + b * y + c for a, b, c in matrix)
    inside = (from_x >= 0) & (from_x < width) & (from_y >= 0) & (from_y < height)
    outside = (~inside).astype(np.uint8)
    fill = np.full(clip.shape[1:], FILL, np.uint8)
    # OpenCV counts from the centre of the first pixel, the matrix from its corner.
    from_centres = matrix + [[0, 0, 0.5 * sum(row[:2]) - 0.5] for row in matrix]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = np.empty_like(clip)
    for frame, out in zip(clip, warped, strict=True):
        cv2.warpAffine(
            frame, from_centres, (width, height), out, flags=flags, borderMode=cv2.BORDER_REPLICATE
        )
        cv2.copyTo(fill, outside, out)
    return warped


def _translate(clip: Clip, pixels: float, axis: int) -> Clip:
    """What `_warp` does for a translation, five times as fast.

    Whole pixels are a slice of each frame; the rest, at most half a pixel, is a filter.
    """
    size = clip.shape[1 + axis]
    whole = math.floor(pixels + 0.5)
    rest = pixels - whole
    taps = np.expand_dims([max(0, -rest), 1 - abs(rest), max(0, rest)], 1 - axis)
    source, target = [slice(None)] * 2, [slice(None)] * 2
    source[axis] = slice(max(0, whole), size + min(0, whole))
    target[axis] = slice(max(0, -whole), size + min(0, -whole))
    moved = np.full_like(clip, FILL)
    for frame, out in zip(clip, moved, strict=True):
        filtered = cv2.filter2D(frame, -1, taps, borderType=cv2.BORDER_REPLICATE)
        out[*target] = filtered[*source]
    return moved


def _enhancement(amount: float) -> float:
    """Pillow's factor: 1 leaves a picture as it is, 0.1 nearly removes a property, 1.9 adds it."""
    return max(0.1, 1 + 0.9 * amount)


def _blended(base: Int[np.ndarray, "*T 1"], factor: float) -> UInt8[np.ndarray, "*T 256"]:
    """Tables from a level to its mixture with `base`: base + factor (level - base)."""
    mixed = base + np.float32(factor) * (_LEVELS - base).astype(np.float32)
    return np.clip(mixed, 0, 255).astype(np.uint8)


def _histogram(frame: UInt8[np.ndarray, "H W 3"]) -> Int[np.ndarray, "256 3"]:
    counts = [cv2.calcHist([frame], [c], None, [256], [0, 256]).ravel() for c in range(3)]
    return np.stack(counts, axis=1).astype(int)


def _look_up(clip: Clip, table: Int[np.ndarray, " 256"] | UInt8[np.ndarray, " 256"]) -> Clip:
    return cv2.LUT(_rows(clip), table.astype(np.uint8)).reshape(clip.shape)


def _look_up_each(clip: Clip, tables: UInt8[np.ndarray, "T 256 3"]) -> Clip:
    """Looks up every frame and channel in a table of its own."""
    pairs = zip(clip, tables[:, np.newaxis], strict=True)
    return np.stack([cv2.LUT(frame, table) for frame, table in pairs])


def _rows(clip: Clip) -> UInt8[np.ndarray, "T*H W 3"]:
    """All frames as one tall picture, for a single call of OpenCV."""
    return clip.reshape(-1, *clip.shape[2:])
