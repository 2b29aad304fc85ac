"""Northwestern-UCLA Multiview Action 3D: ten actions, up to three cameras."""

from pathlib import Path

from tfds_builders.base import MultiViewBuilder
from tfds_builders.manifest import Manifest
from tfds_builders.nucla import layout


class Builder(MultiViewBuilder):
    """Builder of the data set `nucla`."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    Get multiview_action_videos.tgz, see docs/data.md, and unpack it anywhere below the raw
    directory.
    """

    @property
    def classes(self) -> tuple[str, ...]:
        """The ten class names, in the order of their numbers."""
        return layout.CLASSES

    def manifest(self, raw_dir: Path) -> Manifest:
        """Finds the videos by their official names."""
        return layout.read(raw_dir)
