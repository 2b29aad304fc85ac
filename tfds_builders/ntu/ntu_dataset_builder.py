"""NTU RGB+D (60 actions) and NTU RGB+D 120 in one data set; protocols are filters of its index."""

from pathlib import Path

from tfds_builders.base import MultiViewBuilder
from tfds_builders.manifest import Manifest
from tfds_builders.ntu import layout


class Builder(MultiViewBuilder):
    """Builder of the data set `ntu`."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    Ask for the RGB videos at https://rose1.ntu.edu.sg/dataset/actionRecognition/ and unpack them
    anywhere below the raw directory.
    """

    @property
    def classes(self) -> tuple[str, ...]:
        """The 120 official class names; those of NTU-60 are the first 60."""
        return layout.CLASSES

    def manifest(self, raw_dir: Path) -> Manifest:
        """Finds the videos by their official names."""
        return layout.read(raw_dir, self.classes)
