"""KIST SynADL: rendered characters doing the activities of ETRI-Activity3D, 28 cameras."""

from pathlib import Path

from tfds_builders.base import MultiViewBuilder
from tfds_builders.manifest import Manifest
from tfds_builders.synadl import layout


class Builder(MultiViewBuilder):
    """Builder of the data set `synadl`."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    Ask for RGB.zip at https://ai4robot.github.io/ElderSim and unpack it anywhere below the raw
    directory.
    """

    @property
    def classes(self) -> tuple[str, ...]:
        """ETRI's 55 class names."""
        return layout.CLASSES

    def manifest(self, raw_dir: Path) -> Manifest:
        """Finds the videos that have the official names of its characters."""
        return layout.read(raw_dir)
