"""Which classes are taken for which: the confusion matrix as a picture."""

import math

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from etils import epath
from jaxtyping import Int
from matplotlib.colors import PowerNorm
from sklearn.metrics import confusion_matrix

from mv2mae_jax.figures import save_figure

CELL = 0.17  # inches; room for a name of FONT points
LARGE_CELL = 0.38  # with a number in it
FONT = 8
WIDEST = 40  # inches; of more classes than have room some are named
LETTERS = 40  # of a name, at most
COUNTED = 30  # classes, up to which cells show their counts


@matplotlib.rc_context({"text.parse_math": False})  # names are not formulas
def draw_confusion(
    labels: Int[np.ndarray, " V"],
    predicted: Int[np.ndarray, " V"],
    names: tuple[str, ...],
    out: epath.Path,
) -> None:
    """Draws a row for each true class, its colours the shares of its videos by prediction.

    Rows of classes that do not occur are grey. With few classes, cells show their counts.

    Args:
      labels: true classes.
      predicted: classes.
      names: of all classes.
      out: picture to write, in the format that its suffix names.
    """
    counts = confusion_matrix(labels, predicted, labels=np.arange(len(names)))
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.ma.masked_invalid(counts / np.where(totals, totals, np.nan))
    counted = len(names) <= COUNTED
    side = min(WIDEST, len(names) * (LARGE_CELL if counted else CELL))
    named = slice(None, None, math.ceil(len(names) * CELL / side))
    figure, axis = plt.subplots(figsize=(side + 4, side + 4), layout="constrained")
    colours = plt.get_cmap("Blues").with_extremes(bad="0.85")
    scale = PowerNorm(0.5, vmin=0, vmax=1)  # a few per cent of a class can be seen
    image = axis.imshow(shares, cmap=colours, norm=scale)
    places = np.arange(len(names))
    shown = [name if len(name) <= LETTERS else f"{name[: LETTERS - 1]}…" for name in names]
    axis.set_xticks(places[named], shown[named], rotation=90, fontsize=FONT)
    axis.set_yticks(places[named], shown[named], fontsize=FONT)
    axis.set_xticks(places[1:][named] - 0.5, minor=True)
    axis.set_yticks(places[1:][named] - 0.5, minor=True)
    axis.grid(which="minor", color="0.9", linewidth=0.4)
    axis.tick_params(which="minor", length=0)
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    axis.set_title(f"{np.trace(counts)} of {len(labels)} videos right", fontsize=FONT + 2)
    figure.colorbar(image, ax=axis, shrink=0.5, label="share of the true class", fraction=0.03)
    if counted:
        for row, column in np.argwhere(counts):
            shade = "white" if shares[row, column] > 0.4 else "black"
            axis.text(
                column,
                row,
                counts[row, column],
                color=shade,
                ha="center",
                va="center",
                fontsize=FONT - 1,
            )
    save_figure(figure, out)
