"""NTU's file names: SsssCcccPpppRrrrAaaa_rgb.avi, anywhere below the raw directory.

The three cameras of one activity (same setup, performer, replication and action) are its views.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from tfds_builders import layouts
from tfds_builders.manifest import Manifest, Row

NAME = r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})_rgb"
CLASSES = layouts.read_classes("ntu")


def read(
    raw_dir: Path, paths: Iterable[str] | None = None, *, classes: Sequence[str] = CLASSES
) -> Manifest:
    """Finds all videos with NTU's names.

    Args:
      raw_dir: any directory above the videos; folders (nturgb+d_rgb/, one per setup) do not
        matter.
      paths: files to read, relative to `raw_dir`; None: all that look like videos.
      classes: class names; action A001 is the first.

    Returns:
      The manifest: activities sorted by name, views "1", "2", "3" by camera.

    Raises:
      InputError: there is no such video, or the same view of an activity twice.
    """
    numbered = dict(enumerate(classes, 1))

    def to_row(path: str, match: re.Match[str]) -> Row:
        setup, camera, subject, replication, action = match.groups()
        return Row(
            activity=f"S{setup}P{subject}R{replication}A{action}",
            view=str(int(camera)),
            path=path,
            label=layouts.class_of(numbered, int(action)),
            subject=str(int(subject)),
            setup=str(int(setup)),
        )

    return layouts.read_videos(
        raw_dir, NAME, "S001C001P001R001A001_rgb.avi", to_row, classes, paths
    )
