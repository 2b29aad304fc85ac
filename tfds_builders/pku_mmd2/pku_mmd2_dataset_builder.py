"""PKU-MMD, phase II: long sequences of actions, up to three cameras, cut by label files."""

from pathlib import Path

from tfds_builders.base import MultiViewBuilder
from tfds_builders.manifest import Manifest
from tfds_builders.pku_mmd2 import layout


class Builder(MultiViewBuilder):
    """Builder of the data set `pku_mmd2`."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    Get the RGB videos and the label files of phase II at
    https://www.icst.pku.edu.cn/struct/Projects/PKUMMD.html and unpack both anywhere below the raw
    directory.
    """

    @property
    def classes(self) -> tuple[str, ...]:
        """The 51 class names of both phases."""
        return layout.CLASSES

    def manifest(self, raw_dir: Path) -> Manifest:
        """Finds the videos by their official names and cuts them as their label files say."""
        return layout.read(raw_dir)
