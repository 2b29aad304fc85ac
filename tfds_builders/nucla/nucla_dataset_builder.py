"""Northwestern-UCLA Multiview Action 3D: ten actions, up to three cameras."""

from tfds_builders.base import DownloadedBuilder
from tfds_builders.nucla import layout


class Builder(DownloadedBuilder):
    """Builder of the data set `nucla`."""

    LAYOUT = layout
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    Get multiview_action_videos.tgz, see docs/datasets.md, and unpack it anywhere below the raw
    directory.
    """
