"""Figures into files: PNG, PDF or SVG by the suffix, on this machine or on object storage."""

import io
import logging
import warnings

import matplotlib

matplotlib.use("Agg")  # without a screen; every picture is made by way of this module

import matplotlib.pyplot as plt
from etils import epath
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager

from mv2mae_jax.storage import write_out

log = logging.getLogger(__name__)

# Names of classes and views may be in letters that Matplotlib's own font lacks.
plt.rcParams["font.family"] = [
    "DejaVu Sans",
    *sorted({font.name for font in fontManager.ttflist if "CJK" in font.name}),
]

DOTS_PER_INCH = 110


def save_figure(figure: Figure, path: epath.Path) -> None:
    """Writes a figure in the format that the suffix names, and closes it.

    Raises:
      InputError: it cannot be written.
    """
    picture = io.BytesIO()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        figure.savefig(picture, format=path.suffix[1:], dpi=DOTS_PER_INCH, bbox_inches="tight")
    plt.close(figure)
    missing = set()
    for warning in caught:
        if "missing from font" in str(warning.message):
            missing.add(str(warning.message))
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    if missing:
        log.warning(
            "%s has boxes for %d letters that no font here has; install one, as Noto Sans CJK",
            path,
            len(missing),
        )
    write_out(path, picture.getvalue())
