"""SynADL's file names: ETRI's, for the same 55 actions, by 15 characters before 28 cameras."""

from collections.abc import Iterable
from pathlib import Path

from tfds_builders.etri import layout as etri
from tfds_builders.manifest import Manifest

CLASSES = etri.CLASSES
CHARACTERS = range(101, 116)


def read(raw_dir: Path, paths: Iterable[str] | None = None) -> Manifest:
    """Finds all videos of SynADL's characters.

    Args:
      raw_dir: any directory above the videos; folders (RGB/) do not matter.
      paths: files to read, relative to `raw_dir`; None: all that look like videos.

    Returns:
      The manifest: activities sorted by name, views "1" to "28" by camera, characters as
      subjects.

    Raises:
      InputError: there is no such video, or the same view of an activity twice.
    """
    return etri.read(raw_dir, paths, CHARACTERS)
