"""Some activities of a built data set on one page: all views side by side, times aligned."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Int, UInt8

from mv2mae_jax.data.decode import decode_frames
from mv2mae_jax.data.records import Index, Record, RecordSource

TIMES = 5  # rows of an activity
GREY = 128  # where there is no frame
ACROSS = 12  # frames beside one another on a page
HIGH = 5.5  # of an activity, in inches


@matplotlib.rc_context({"text.parse_math": False})  # names are not formulas
def contact_sheet(index: Index, out: str | Path, activities: int = 4) -> None:
    """Draws evenly spaced activities: a column for each view, a row for each time.

    Args:
      index: of the data set.
      out: PNG file to write.
      activities: how many.
    """
    records = RecordSource(index)
    count = min(activities, len(records))
    chosen = [index.activities[i] for i in np.linspace(0, len(records) - 1, count).astype(int)]
    shown = [records[activity.position] for activity in chosen]
    times = [frame_numbers(record) for record in shown]
    images = [mosaic(record, at) for record, at in zip(shown, times, strict=True)]
    columns = min(count, max(1, ACROSS // max(len(record.views) for record in shown)))
    rows = -(-count // columns)
    wide = HIGH * max(image.shape[1] / image.shape[0] for image in images)
    figure, axes = plt.subplots(
        rows, columns, figsize=(wide * columns, HIGH * rows), squeeze=False, layout="constrained"
    )
    for axis in axes.flat[count:]:
        axis.set_axis_off()
    for axis, activity, record, at, image in zip(
        axes.flat, chosen, shown, times, images, strict=False
    ):
        height, width = image.shape[0] / len(at), image.shape[1] / len(record.views)
        axis.imshow(image)
        axis.set_title(f"{activity.id}: {index.classes[activity.label]}", fontsize=8)
        axis.set_xticks((np.arange(len(record.views)) + 0.5) * width, record.views, fontsize=7)
        axis.set_yticks((np.arange(len(at)) + 0.5) * height, at, fontsize=7)
    figure.supxlabel("view", fontsize=8)
    figure.supylabel("frame", fontsize=8)
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)
    plt.close(figure)


def frame_numbers(record: Record) -> Int[np.ndarray, " T"]:
    """`TIMES` frame numbers from the first to the last of the longest view."""
    longest = max(len(frames) for frames in record.views.values())
    return np.linspace(0, longest - 1, TIMES).round().astype(int)


def mosaic(record: Record, times: Int[np.ndarray, " T"]) -> UInt8[np.ndarray, "H W 3"]:
    """Frames of an activity as one picture: a row for each time, a column for each view.

    Grey where a view has ended, and beside frames that are smaller than others.
    """
    views = [decode_frames(jpegs, times[times < len(jpegs)]) for jpegs in record.views.values()]
    height, width = (max(view.shape[axis] for view in views) for axis in (1, 2))
    cells = np.full((len(times), height, len(views), width, 3), GREY, np.uint8)
    for column, view in enumerate(views):
        count, h, w = view.shape[:3]
        cells[:count, :h, column, :w] = view
    return cells.reshape(len(times) * height, len(views) * width, 3)
