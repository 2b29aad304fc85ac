"""Some activities of a built data set on one page: all views side by side, times aligned."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from mv2mae_jax.data.decode import decode_frames
from mv2mae_jax.data.records import Index, Record, RecordSource

TIMES = 5  # rows of an activity
WIDTH = 1.5  # of a frame, in inches


def contact_sheet(index: Index, out: str | Path, activities: int = 4) -> None:
    """Draws evenly spaced activities: a column for each view, a row for each time.

    All frames of a row are the same frame number; where a view has ended, nothing is drawn.

    Args:
      index: of the data set.
      out: PNG file to write.
      activities: how many.
    """
    records = RecordSource(index)
    count = min(activities, len(index.activities))
    chosen = [index.activities[i] for i in np.linspace(0, len(records) - 1, count).astype(int)]
    columns = max(len(activity.views) for activity in chosen)
    figure, axes = plt.subplots(
        count * TIMES,
        columns,
        figsize=(WIDTH * columns + 1, 0.8 * WIDTH * count * TIMES),
        squeeze=False,
    )
    for axis in axes.flat:
        axis.set_axis_off()
    for position, activity in enumerate(chosen):
        rows = axes[position * TIMES : (position + 1) * TIMES]
        draw_activity(rows, records[activity.position])
        title = f"{activity.id}: {index.classes[activity.label]}"
        rows[0, 0].set_title(title, fontsize=8, loc="left", pad=14)
    figure.tight_layout(pad=0.4)
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=100)
    plt.close(figure)


def draw_activity(axes: np.ndarray, record: Record) -> None:
    """Fills one block of the page.

    Args:
      axes: of matplotlib, [TIMES, columns].
      record: with at most as many views as there are columns.
    """
    longest = max(len(frames) for frames in record.views.values())
    times = np.linspace(0, longest - 1, TIMES).round().astype(int)
    for column, (view, frames) in enumerate(record.views.items()):
        there = times[times < len(frames)]
        for row, (time, image) in enumerate(zip(there, decode_frames(frames, there), strict=True)):
            axis = axes[row, column]
            axis.imshow(image)
            note = f"view {view}\nframe {time}" if row == 0 else f"{time}"
            axis.text(
                0.02,
                0.97,
                note,
                transform=axis.transAxes,
                fontsize=6,
                va="top",
                color="white",
                bbox={"facecolor": "black", "alpha": 0.5, "pad": 1, "linewidth": 0},
            )
