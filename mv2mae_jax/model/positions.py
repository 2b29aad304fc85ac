"""Position tables: fixed sinusoids, which are no parameters."""

from collections.abc import Callable, Mapping
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from mv2mae_jax.model.grid import Grid

SEPARABLE_BASE = 10.0
SEPARABLE_AMPLITUDE = 3.0


def sinusoid(length: int, dim: int, base: float = 10000.0) -> Float[np.ndarray, "N D"]:
    """Sine on even and cosine on odd channels of position / base^(2 floor(j/2) / dim)."""
    channel = np.arange(dim)
    angle = np.arange(length)[:, None] / base ** (2 * (channel // 2) / dim)
    return np.where(channel % 2 == 0, np.sin(angle), np.cos(angle)).astype(np.float32)


def flattened_sinusoid(grid: Grid, dim: int) -> Float[np.ndarray, "N D"]:
    """One sinusoid over the running token index (VideoMAE)."""
    return sinusoid(int(np.prod(grid)), dim)


def separable_sinusoid(grid: Grid, dim: int) -> Float[np.ndarray, "N D"]:
    """Time, height and width each have a share of the channels and a sinusoid of their own.

    The shares are even numbers: height and width have dim // 3 each (rounded down to even),
    time has the rest. Wavelengths range from 2 pi to 2 pi times SEPARABLE_BASE tubelets: a grid's
    sides are short, and with VideoMAE's base of 10000 most channels would be the same everywhere
    (a small model then takes longer before it looks at its neighbours). The amplitude keeps them
    above the embedded tubelets to which they are added.
    """
    space = dim // 3 // 2 * 2
    shares = (dim - 2 * space, space, space)
    t, h, w = np.indices(grid).reshape(3, -1)
    parts = [
        sinusoid(length, share, SEPARABLE_BASE)[index]
        for length, share, index in zip(grid, shares, (t, h, w), strict=True)
    ]
    return SEPARABLE_AMPLITUDE * np.concatenate(parts, axis=-1)


# By their name in `config.model.positions`.
POSITIONS: Mapping[str, Callable[[Grid, int], Float[np.ndarray, "N D"]]] = {
    "flattened": flattened_sinusoid,
    "separable": separable_sinusoid,
}


@lru_cache
def position_table(kind: str, grid: Grid, dim: int) -> Float[np.ndarray, "N D"]:
    """Positions of all tubelets of a clip, in token order (t h w).

    Args:
      kind: a name in `POSITIONS`.
      grid: tubelets along time, height and width.
      dim: channels.
    """
    return POSITIONS[kind](grid, dim)
