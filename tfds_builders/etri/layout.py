"""ETRI's file names: Aaaa_Pppp_Gggg_Cccc.mp4, anywhere below the raw directory.

The eight cameras of one activity (same action, performer and place) are its views.
"""

import re
from collections.abc import Collection, Iterable
from pathlib import Path

from tfds_builders import layouts
from tfds_builders.manifest import Manifest, Row

NAME = r"A(\d{3})_P(\d{3})_G(\d{3})_C(\d{3})"
CLASSES = layouts.read_classes("etri")
SUBJECTS = range(1, 101)


def read(
    raw_dir: Path, paths: Iterable[str] | None = None, subjects: Collection[int] = SUBJECTS
) -> Manifest:
    """Finds all videos with ETRI's names.

    Args:
      raw_dir: any directory above the videos; folders (P001-P010/P001/) do not matter.
      paths: files to read, relative to `raw_dir`; None: all that look like videos.
      subjects: numbers of the data set's subjects: other data sets use the same names.

    Returns:
      The manifest: activities sorted by name, views "1" to "8" by camera.

    Raises:
      InputError: there is no such video, or the same view of an activity twice.
    """
    numbered = dict(enumerate(CLASSES, 1))

    def to_row(path: str, match: re.Match[str]) -> Row:
        action, subject, place, camera = match.groups()
        if int(subject) not in subjects:
            raise layouts.Misfit(f"subject {int(subject)} is not of this data set")
        return Row(
            activity=f"A{action}P{subject}G{place}",
            view=str(int(camera)),
            path=path,
            label=layouts.class_of(numbered, int(action)),
            subject=str(int(subject)),
        )

    example = f"A001_P{min(subjects):03}_G001_C001.mp4"
    return layouts.read_videos(raw_dir, NAME, example, to_row, CLASSES, paths)
