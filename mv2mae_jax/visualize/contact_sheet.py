"""Some activities of a built data set on one page: all views side by side, times aligned."""

from collections.abc import Sequence

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from etils import epath
from jaxtyping import Int, UInt8

from mv2mae_jax.data.records import Activity, Index, RecordSource
from mv2mae_jax.data.samples import decode
from mv2mae_jax.figures import save_figure
from mv2mae_jax.storage import out_path

TIMES = 5  # rows of an activity
GREY = 128  # where there is no frame
ACROSS = 12  # frames beside one another on a page
HIGH = 5.5  # of an activity, in inches


@matplotlib.rc_context({"text.parse_math": False})  # names are not formulas
def contact_sheet(index: Index, out: epath.PathLike, activities: int = 4) -> None:
    """Draws evenly spaced activities: a column for each view, a row for each time.

    Args:
      index: of the data set.
      out: picture to write: .png, .pdf or .svg.
      activities: how many.

    Raises:
      InputError: it cannot be written.
    """
    path = out_path(out)
    records = RecordSource(index)
    count = min(activities, len(index.activities))
    places = np.linspace(0, len(index.activities) - 1, count).astype(int)
    chosen = [index.activities[place] for place in places]
    times = [frame_numbers(activity) for activity in chosen]
    images = [
        mosaic(_decode(records, activity, at), len(at))
        for activity, at in zip(chosen, times, strict=True)
    ]
    columns = min(count, max(1, ACROSS // max(len(activity.views) for activity in chosen)))
    rows = -(-count // columns)
    wide = HIGH * max(image.shape[1] / image.shape[0] for image in images)
    figure, axes = plt.subplots(
        rows, columns, figsize=(wide * columns, HIGH * rows), squeeze=False, layout="constrained"
    )
    for axis in axes.flat[count:]:
        axis.set_axis_off()
    for axis, activity, at, image in zip(axes.flat, chosen, times, images, strict=False):
        height, width = image.shape[0] / len(at), image.shape[1] / len(activity.views)
        axis.imshow(image)
        axis.set_title(f"{activity.id}: {index.classes[activity.label]}", fontsize=8)
        axis.set_xticks((np.arange(len(activity.views)) + 0.5) * width, activity.views, fontsize=7)
        axis.set_yticks((np.arange(len(at)) + 0.5) * height, at, fontsize=7)
    figure.supxlabel("view", fontsize=8)
    figure.supylabel("frame", fontsize=8)
    save_figure(figure, path)


def frame_numbers(activity: Activity) -> Int[np.ndarray, " T"]:
    """`TIMES` frame numbers from the first to the last of the longest view."""
    return np.linspace(0, max(activity.views.values()) - 1, TIMES).round().astype(int)


def mosaic(views: Sequence[UInt8[np.ndarray, "_ _ _ 3"]], rows: int) -> UInt8[np.ndarray, "H W 3"]:
    """Frames of an activity as one picture: a column for each view, a row for each time.

    Grey where a view has ended, and beside frames that are smaller than others.
    """
    height, width = (max(view.shape[axis] for view in views) for axis in (1, 2))
    cells = np.full((rows, height, len(views), width, 3), GREY, np.uint8)
    for column, view in enumerate(views):
        count, h, w = view.shape[:3]
        cells[:count, :h, column, :w] = view
    return cells.reshape(rows * height, len(views) * width, 3)


def _decode(
    records: RecordSource, activity: Activity, times: Int[np.ndarray, " T"]
) -> list[UInt8[np.ndarray, "_ _ _ 3"]]:
    """The frames of each view at those of the times that it has."""
    there = {view: times[times < length] for view, length in activity.views.items()}
    return [decode(records, activity, view, at) for view, at in there.items()]
