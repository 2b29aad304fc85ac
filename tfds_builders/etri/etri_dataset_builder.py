"""ETRI-Activity3D: 55 daily activities of elderly and young people, eight cameras."""

from tfds_builders.base import DownloadedBuilder
from tfds_builders.etri import layout


class Builder(DownloadedBuilder):
    """Builder of the data set `etri`."""

    LAYOUT = layout
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    Ask for the RGB videos at https://ai4robot.github.io/etri-activity3d-en and unpack them anywhere
    below the raw directory.
    """
