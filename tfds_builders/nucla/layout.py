"""NUCLA's file names: aAA/vVV_sSS_eEE.avi, anywhere below the raw directory.

The cameras of one activity (same action, subject and repetition) are its views; some activities
have one or two of the three. Actions a07 and a10 do not exist.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from tfds_builders import layouts
from tfds_builders.manifest import Manifest, Row

NAME = r"a(\d\d)[/_]v(\d\d)_s(\d\d)_e(\d\d)"
CLASSES = layouts.read_classes("nucla")
ACTIONS = dict(zip((1, 2, 3, 4, 5, 6, 8, 9, 11, 12), CLASSES, strict=True))


def read(raw_dir: Path, paths: Iterable[str] | None = None) -> Manifest:
    """Finds all videos with NUCLA's names.

    Args:
      raw_dir: any directory above the folders a01 to a12; these are part of the names.
      paths: files to read, relative to `raw_dir`; None: all that look like videos.

    Returns:
      The manifest: activities sorted by name, views "1", "2", "3" by camera.

    Raises:
      InputError: there is no such video, or the same view of an activity twice.
    """

    def to_row(path: str, match: re.Match[str]) -> Row:
        action, camera, subject, repetition = match.groups()
        return Row(
            activity=f"a{action}_s{subject}_e{repetition}",
            view=str(int(camera)),
            path=path,
            label=layouts.class_of(ACTIONS, int(action)),
            subject=str(int(subject)),
        )

    return layouts.read_videos(raw_dir, NAME, "a01/v01_s01_e00.avi", to_row, CLASSES, paths)
