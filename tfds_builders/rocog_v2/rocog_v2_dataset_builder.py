"""RoCoG-v2: seven gestures, real and synthetic, from the ground or the air; single views."""

from pathlib import Path

from tfds_builders.base import MultiViewBuilder
from tfds_builders.manifest import Manifest
from tfds_builders.rocog_v2 import layout


class Builder(MultiViewBuilder):
    """Builder of the data set `rocog_v2`."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    Get real_ground.zip and what else is wanted at https://www.cis.jhu.edu/~rocog/data/ and unpack
    it anywhere below the raw directory.
    """

    @property
    def classes(self) -> tuple[str, ...]:
        """The seven official class names."""
        return layout.CLASSES

    def manifest(self, raw_dir: Path) -> Manifest:
        """Finds the videos by their official names."""
        return layout.read(raw_dir)
