"""ETRI-Activity3D: 55 daily activities of elderly and young people, eight cameras."""

from pathlib import Path

from tfds_builders.base import MultiViewBuilder
from tfds_builders.etri import layout
from tfds_builders.manifest import Manifest


class Builder(MultiViewBuilder):
    """Builder of the data set `etri`."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    Ask for the RGB videos at https://ai4robot.github.io/etri-activity3d-en and unpack them anywhere
    below the raw directory.
    """

    @property
    def classes(self) -> tuple[str, ...]:
        """The 55 official class names."""
        return layout.CLASSES

    def manifest(self, raw_dir: Path) -> Manifest:
        """Finds the videos by their official names."""
        return layout.read(raw_dir)
