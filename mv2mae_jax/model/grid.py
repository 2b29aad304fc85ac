"""A clip as a grid of tubelets, and which of them a mask hides or shows together; without JAX."""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Int

Grid = tuple[int, int, int]  # tubelets along time, height and width
PatchSize = tuple[int, int, int]  # frames, rows and columns of a tubelet


def tubelet_grid(num_frames: int, image_size: int, patch_size: PatchSize) -> Grid:
    """Tubelets of a square clip along time, height and width."""
    return (
        num_frames // patch_size[0],
        image_size // patch_size[1],
        image_size // patch_size[2],
    )


def single_tokens(grid: Grid) -> Int[np.ndarray, "N 1"]:
    """Every token by itself (Table 12)."""
    return np.arange(np.prod(grid))[:, None]


def tubes(grid: Grid) -> Int[np.ndarray, "U T"]:
    """The same place in every time step (VideoMAE)."""
    return np.arange(np.prod(grid)).reshape(grid[0], -1).T


# By their name in `config.masking.kind`: the tokens of each unit that is hidden or shown as a
# whole, for any grid. All units of a mask have as many, so that shapes do not depend on which are
# drawn.
MASKS: Mapping[str, Callable[[Grid], Int[np.ndarray, "U K"]]] = {
    "random": single_tokens,
    "tube": tubes,
}


def num_masked(kind: str, ratio: float, grid: Grid) -> int:
    """Masked tokens of a clip, those of floor(ratio U) of its U units."""
    units, tokens = MASKS[kind](grid).shape
    return tokens * int(ratio * units)
