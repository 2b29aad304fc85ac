"""Mannequin: rendered videos under NTU's names, read as NTU's are."""

from pathlib import Path

from tfds_builders.base import MultiViewBuilder
from tfds_builders.manifest import Manifest
from tfds_builders.mannequin.actions import CLASSES
from tfds_builders.ntu import layout


class Builder(MultiViewBuilder):
    """Builder of the data set `mannequin`."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The actions that the generator knows."""
        return tuple(CLASSES)

    def manifest(self, raw_dir: Path) -> Manifest:
        """Finds the videos by their names."""
        return layout.read(raw_dir, self.classes)
