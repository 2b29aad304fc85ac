"""Which classes a tested run takes for which; or which of them it knows better than another run.

python -m mv2mae_jax.visualize confusion --workdir runs/finetune --out confusion.pdf
python -m mv2mae_jax.visualize confusion --workdir runs/finetune --against runs/scratch --out x.png

The first is the picture that testing leaves, in another format or place. The second compares both
runs on each video of the same test.
"""

import argparse
from typing import NamedTuple

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from mv2mae_jax.errors import InputError
from mv2mae_jax.evaluation.confusion import draw_confusion
from mv2mae_jax.evaluation.scores import bootstrap_interval
from mv2mae_jax.figures import save_figure
from mv2mae_jax.run_files import Tested, read_predictions
from mv2mae_jax.storage import out_path
from mv2mae_jax.visualize.runs import add_out, named, shortened

CLASS_HEIGHT = 0.2  # inches, of a class in the comparison
FONT = 8
DIFFERENCE = "difference, 95 % interval"
OURS, THEIRS = "C0", "C1"


class ClassDifferences(NamedTuple):
    """Of classes that occur, the best of ours first: shares of their videos, and counts.

    Attributes:
      names: of the classes.
      counts: of their videos.
      ours: share that our run alone has right.
      theirs: share that the other run alone has right.
      intervals: 95% interval of ours - theirs, activities resampled with all their views.
    """

    names: list[str]
    counts: Int[np.ndarray, " K"]
    ours: Float[np.ndarray, " K"]
    theirs: Float[np.ndarray, " K"]
    intervals: Float[np.ndarray, "K 2"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this picture."""
    parser.add_argument("--workdir", required=True, help="work directory of a fine-tuned run")
    parser.add_argument("--against", help="that of another, tested on the same videos")
    add_out(parser)


def draw(args: argparse.Namespace) -> None:
    """Draws the confusion matrix, or the comparison, from predictions.csv."""
    out = out_path(args.out)
    if args.against is None:
        (workdir,) = named([args.workdir]).values()
        run = read_predictions(workdir)
        draw_confusion(run.labels, run.predicted, run.names, out)
        return
    runs = named([args.workdir, args.against])
    ours, theirs = (read_predictions(path) for path in runs.values())
    require_same_test(ours, theirs, tuple(runs))
    save_figure(comparison_figure(ours, theirs, tuple(runs)), out)


def require_same_test(ours: Tested, theirs: Tested, runs: tuple[str, ...]) -> None:
    """Two runs can be compared: they were tested on the same videos.

    Raises:
      InputError: they were not.
    """
    one, other = runs
    if ours.names != theirs.names:
        raise InputError(f"{one} and {other} tell other classes apart; they cannot be compared")
    different = set(zip(ours.videos, ours.labels, strict=True)) ^ set(
        zip(theirs.videos, theirs.labels, strict=True)
    )
    if different:
        raise InputError(
            f"{one} and {other} were tested on other videos, {len(ours.videos)} and "
            f"{len(theirs.videos)}; test both on the same protocol and split"
        )


def compare(ours: Tested, theirs: Tested) -> ClassDifferences:
    """Which classes the one run knows better, which the other: both on the same videos."""
    ours_right, theirs_right = ours.predicted == ours.labels, theirs.predicted == theirs.labels
    difference = ours_right.astype(int) - theirs_right
    activities = ours.activities
    rows = []
    for label in np.unique(ours.labels):
        of_class = ours.labels == label
        won = difference[of_class]
        interval = bootstrap_interval(won, activities[of_class])
        rows.append((np.mean(won > 0), np.mean(won < 0), len(won), interval, ours.names[label]))
    rows.sort(key=lambda row: row[0] - row[1], reverse=True)
    won, lost, counts, intervals, names = zip(*rows, strict=True)
    return ClassDifferences(
        list(names), np.array(counts), np.array(won), np.array(lost), np.array(intervals)
    )


@matplotlib.rc_context({"text.parse_math": False})  # names are not formulas
def comparison_figure(ours: Tested, theirs: Tested, runs: tuple[str, ...]) -> Figure:
    """A row for each class: to the right what ours alone has right, to the left what theirs.

    Args:
      ours: predictions of the one run.
      theirs: of the other, of the same videos.
      runs: the names of both.
    """
    classes = compare(ours, theirs)
    one, other = map(shortened, runs)
    right = [x.predicted == x.labels for x in (ours, theirs)]
    low, high = bootstrap_interval(right[0].astype(int) - right[1], ours.activities)
    height = CLASS_HEIGHT * len(classes.names) + 1.8
    figure, axis = plt.subplots(figsize=(9, height), layout="constrained")
    rows = np.arange(len(classes.names))
    axis.barh(rows, classes.ours, color=OURS, alpha=0.45, label=f"only {one} right")
    axis.barh(rows, -classes.theirs, color=THEIRS, alpha=0.45, label=f"only {other} right")
    net = classes.ours - classes.theirs
    axis.hlines(rows, *classes.intervals.T, color="black", linewidth=0.8)
    axis.plot(net, rows, "o", color="black", markersize=3, label=DIFFERENCE)
    axis.axvline(0, color="black", linewidth=0.6)
    named_rows = zip(classes.names, classes.counts, strict=True)
    labels = [f"{shortened(name)} ({count})" for name, count in named_rows]
    axis.set_yticks(rows, labels, fontsize=FONT)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * abs(value):g} %"))
    axis.set_xlabel("share of the videos of a class, whose number is in brackets")
    axis.set_title(
        f"{one} {right[0].mean():.1%}, {other} {right[1].mean():.1%} of {len(right[0]):,} videos\n"
        f"difference {100 * (right[0].mean() - right[1].mean()):+.1f} points, "
        f"95 % interval {100 * low:+.1f} to {100 * high:+.1f}",
        fontsize=FONT + 2,
    )
    figure.legend(loc="outside lower center", ncols=1, fontsize=FONT)
    axis.grid(color="0.92", axis="x")
    axis.set_axisbelow(True)
    return figure
