"""RoCoG-v2: seven gestures, real and synthetic, from the ground or the air; single views."""

from tfds_builders.base import DownloadedBuilder
from tfds_builders.rocog_v2 import layout


class Builder(DownloadedBuilder):
    """Builder of the data set `rocog_v2`."""

    LAYOUT = layout
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    Get real_ground.zip and what else is wanted at https://www.cis.jhu.edu/~rocog/data/ and unpack
    it anywhere below the raw directory.
    """
