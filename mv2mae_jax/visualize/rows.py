"""A page of clips: one row of frames for each, drawn as a picture."""

import textwrap

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from etils import epath
from jaxtyping import Float

from mv2mae_jax.errors import InputError
from mv2mae_jax.model.positions import Grid
from mv2mae_jax.storage import to_path

Rows = dict[str, Float[np.ndarray, "T H W C"]]  # a clip by its label

NOTE_LINE = 0.17  # inches
NOTE_LETTERS = 15  # an inch


def save(sections: list[Rows], frame_step: int, note: str, out: epath.PathLike) -> None:
    """One row of frames for each entry, one frame of every tubelet."""
    rows = [row for section in sections for row in section.items()]
    columns = len(rows[0][1][::frame_step])
    width = 1.4 * columns + 1
    note = "\n".join(textwrap.wrap(note, int(NOTE_LETTERS * width)))
    height = 1.4 * len(rows) + NOTE_LINE * (2 + note.count("\n"))
    figure, axes = plt.subplots(len(rows), columns, figsize=(width, height), squeeze=False)
    for line, (label, frames) in zip(axes, rows, strict=True):
        for axis, frame in zip(line, frames[::frame_step], strict=True):
            axis.imshow(np.clip(frame, 0, 1))
            axis.set_xticks([])
            axis.set_yticks([])
        line[0].set_ylabel(label, rotation=0, ha="right", va="center")
    figure.suptitle(note, fontsize=9)
    figure.tight_layout(rect=(0, 0, 1, 1.4 * len(rows) / height))
    try:
        path = to_path(out)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            figure.savefig(file, dpi=110)
    except OSError as error:
        raise InputError(f"{out} cannot be written ({error})") from error
    plt.close(figure)


def overlay(
    frames: Float[np.ndarray, "T H W C"],
    weights: Float[np.ndarray, " N"],
    patch_size: tuple[int, int, int],
    grid: Grid,
) -> Float[np.ndarray, "T H W C"]:
    """Frames darkened where the weights are low: full brightness at the largest weight."""
    p0, p1, p2 = patch_size
    volume = np.asarray(weights).reshape(grid)
    volume = volume.repeat(p0, 0).repeat(p1, 1).repeat(p2, 2) / volume.max()
    return frames * (0.12 + 0.88 * volume[..., None])
